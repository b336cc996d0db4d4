"""SIFT: the entries with the largest first gradient, alone in the optimiser."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import case, needs_golden, run_toy
from method_runs import Frozen, assert_same, changed, close, family_job, made, outcome, start, weights
from model_families import FAMILIES

from ftbench.config.study import Training
from ftbench.methods.base import Context
from ftbench.methods.vanilla import Vanilla
from ftbench.plugins import plugins
from ftbench.training.layers import is_head, layer_groups
from ftbench.training.loop import train


@needs_golden
def test_sift_with_delays_equals_the_released_code_step_by_step() -> None:
    stored = case("sift_delayed_reference")
    hyper, values, expected = stored.content["hyper"], stored.content["values"], stored.expected
    method = made("sift", share=hyper["rate"], biases=False, delayed_reference=True)
    recorder, found = run_toy(
        method, steps=hyper["T"], learning_rate=hyper["lr"], weight_decay=0.0, schedule="constant", warmup_share=0.0,
        clip_norm=None,
    )  # fmt: skip
    indices, vectors = method.indices, method.vectors  # type: ignore[attr-defined]
    assert {name: len(vector) for name, vector in vectors.items()} == values["k"]
    assert sorted(indices) == sorted(name for name, selected in values["selected"].items() if selected)
    near = []
    for key, tensor in expected.items():
        part, _, name = key.partition("/")
        if part.startswith("step_"):
            near.append(close(recorder.weights[int(part[5:])][name], tensor))
        elif part == "index":
            assert sorted(indices[name].tolist()) == sorted(tensor.tolist()), name
        elif part == "pending":
            order, wanted = indices[name].argsort(), expected[f"index/{name}"].argsort()
            assert torch.allclose(vectors[name].detach()[order], tensor[wanted], atol=2e-6), name
    assert torch.cat(near).float().mean() >= 0.999
    losses = torch.tensor([row["loss"] for row in found.log])
    assert torch.allclose(losses, expected["loss"].float(), atol=5e-6, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_sift_changes_at_most_its_share_of_every_attention_tensor(family: str) -> None:
    method = made("sift", share=0.05)
    given = family_job(family, method)
    model, before = given.context.model, given.context.initial
    found = train(given).weights
    assert found is not None
    vectors = method.vectors  # type: ignore[attr-defined]
    inside = {name for block in layer_groups(model).blocks for name in block}
    assert set(vectors) <= inside
    for name in changed(before, found):
        if not is_head(name, model):
            entries = int((found[name] != before[name]).sum())
            assert entries <= min(int(0.05 * found[name].numel()) + 1, found[name].numel()) == len(vectors[name])
    assert all(name in changed(before, found) for name in vectors if name.endswith("weight"))


def attention_or_head(name: str) -> bool:
    return name.startswith("classifier") or (".attention." in name and "LayerNorm" not in name)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sift_of_all_entries_is_plain_fine_tuning_of_its_tensors(decay: float) -> None:
    plain = weights(Frozen(lambda name: not attention_or_head(name)), weight_decay=decay)
    assert_same(weights(made("sift", share=1.0), weight_decay=decay), plain, tolerance=1e-6)


def test_sift_selects_by_the_first_gradient_and_trains_at_once() -> None:
    method = made("sift", share=0.1, biases=False)
    before = start()
    after = weights(method, steps=1, warmup_share=0.0)
    gradient: dict[str, torch.Tensor] = {}

    class First(Vanilla):
        def gradients_ready(self, context: Context) -> None:
            named = context.model.named_parameters()
            gradient.update({name: p.grad.detach().clone() for name, p in named if p.grad is not None})

    outcome(First(Vanilla.Config()), steps=1)
    for name, indices in method.indices.items():  # type: ignore[attr-defined]
        count = int(0.1 * before[name].numel()) + 1
        order = sorted(range(before[name].numel()), key=lambda at: -float(gradient[name].flatten()[at].abs()))
        assert set(indices.tolist()) == set(order[:count])
        moved = (after[name] != before[name]).flatten().nonzero().flatten()
        assert set(moved.tolist()) <= set(order[:count])
        assert len(moved)


def test_sift_clips_the_norm_of_what_it_trains() -> None:
    cut = outcome(made("sift", share=0.01), steps=1).log[0]["gradient_norm"]
    full = outcome(Frozen(lambda name: not attention_or_head(name)), steps=1).log[0]["gradient_norm"]
    assert cut < full


def test_sift_refuses_what_cannot_see_its_vectors() -> None:
    factory = plugins("methods")["sift"].factory

    class Wrapping(Vanilla):
        name = "wrapping"

        def wrap_optimizer(self, optimizer: Any, context: Context) -> Any:
            return optimizer

    assert factory.check(factory.Config(), Training(), "classification", [Vanilla]) == []
    assert "wrapping" in factory.check(factory.Config(), Training(), "classification", [Wrapping])[0]
    delayed = factory.Config(delayed_reference=True)
    assert "weight_decay" in factory.check(delayed, Training(), "classification", [])[0]
