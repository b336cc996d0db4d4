"""Invariants of the shipped methods that need no reference numbers."""

from __future__ import annotations

import math

import pytest
import torch
from test_conformance import prepared, run, settings

from ftbench.methods.base import Context
from ftbench.methods.dps_dense import DpsDense
from ftbench.training.dps_stages import Stages
from ftbench.training.job import Job
from ftbench.training.layers import is_head, is_pooler
from ftbench.training.loop import train
from ftbench.training.masks import kept_entries, largest
from ftbench.training.weights import plain_state


def with_config(name: str, **config: object) -> Job:
    job, method = prepared(name, settings())
    method.config = type(method).Config(**config)
    return job


@pytest.mark.parametrize("name", ["dps_dense", "dps_mix"])
def test_dps_that_drops_nothing_is_plain_fine_tuning(name: str) -> None:
    plain, dps = run("vanilla"), train(with_config(name, drop_share=0.0, update_ratio=0.2))
    assert plain.weights is not None
    assert dps.weights is not None
    for key, tensor in plain.weights.items():
        if not key.endswith("key.bias"):  # exact gradient 0: Adam turns rounding into drift
            assert torch.allclose(tensor, dps.weights[key], atol=1e-5), key


def test_dps_keeps_the_stated_share_of_every_matrix() -> None:
    job = with_config("dps_dense", drop_share=0.3, update_ratio=0.25)
    train(job)
    method = job.methods[0]
    assert isinstance(method, DpsDense)
    assert method.masks
    for mask in method.masks.values():
        assert int(mask.sum()) == math.ceil(mask.numel() * 0.7)


def test_hard_frozen_entries_of_dps_stay_bit_for_bit() -> None:
    job = with_config("dps_dense", drop_share=0.5, update_ratio=0.5, frozen="hard")
    method = job.methods[0]
    assert isinstance(method, DpsDense)
    before: dict[str, torch.Tensor] = {}
    moved: list[str] = []
    after = method.after_step

    def watch(context: Context) -> None:
        after(context)
        weights = plain_state(context.model)
        for name, mask in method.masks.items():
            if before and not torch.equal(weights[name][~mask], before[name][~mask]):
                moved.append(name)
        before.update({name: tensor.clone() for name, tensor in weights.items()})

    method.after_step = watch  # type: ignore[method-assign]
    train(job)
    assert method.masks
    assert not moved


def test_stages_alternate_and_have_the_stated_length() -> None:
    stages = Stages.of(60, 0.05)
    assert stages.length == 3
    assert [stages.collects(step) for step in range(1, 13)] == [True] * 3 + [False] * 3 + [True] * 3 + [False] * 3
    assert Stages.of(5, 0.05).length == 1


def test_masks_hold_the_largest_scores() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.3], [0.5, 0.2, 0.7]])
    assert largest(scores, 3).tolist() == [[False, True, False], [True, False, True]]
    assert largest(scores, 6).all()
    assert kept_entries(10, 0.3) == 7


@pytest.mark.parametrize("train_pooler", [True, False])
def test_a_linear_probe_leaves_the_encoder_bit_for_bit(train_pooler: bool) -> None:
    job, method = prepared("linear_probe", settings())
    start = {name: tensor.clone() for name, tensor in plain_state(job.context.model).items()}
    method.config = type(method).Config(train_pooler=train_pooler)
    method.prepare_model(job.context)
    outcome = train(job)
    assert outcome.weights is not None
    for name, tensor in outcome.weights.items():
        trained = is_head(name, job.context.model) or (train_pooler and is_pooler(name, job.context.model))
        assert torch.equal(tensor, start[name]) != trained, name


def test_a_loss_that_leaves_the_numbers_ends_the_run_with_its_step() -> None:
    job, method = prepared("vanilla", settings())

    def broken(loss: torch.Tensor, logits: torch.Tensor, batch: object, context: Context) -> torch.Tensor:
        return loss * float("nan") if context.step == 5 else loss

    method.loss = broken  # type: ignore[method-assign]
    outcome = train(job)
    assert outcome.weights is None
    assert outcome.failed_step == 5
