"""Invariants of the shipped methods that need no reference numbers."""

from __future__ import annotations

import pytest
import torch
from test_conformance import prepared, settings

from ftbench.methods.base import Context
from ftbench.training.layers import is_head, is_pooler
from ftbench.training.loop import train
from ftbench.training.weights import plain_state


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
