"""Methods that train a small, fixed set of entries: LT-SFT and SIFT."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Recorder, case, needs_golden, run_toy, unpacked
from method_runs import assert_same, changed, family_job, job, made, outcome, start, weights
from model_families import FAMILIES

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.config.study import Training
from ftbench.methods.base import Context, Method
from ftbench.methods.vanilla import Vanilla
from ftbench.plugins import plugins
from ftbench.training.layers import is_head, layer_groups
from ftbench.training.loop import train

PLAIN = {"weight_decay": 0.0}


class Frozen(Vanilla):
    """Freezes what `frozen` names, as a companion of the method under test."""

    def __init__(self, frozen: Any) -> None:
        super().__init__(Vanilla.Config())
        self.frozen = frozen

    def prepare_model(self, context: Context) -> None:
        for name, parameter in context.model.named_parameters():
            if self.frozen(name):
                parameter.requires_grad_(False)


class ByPhase(Recorder):
    """Weights after every step of every phase, and at the beginning of each phase behind the prologues."""

    def __init__(self) -> None:
        super().__init__()
        self.by_phase: dict[tuple[int, int], dict[str, torch.Tensor]] = {}

    def prologue(self, context: Context) -> None:
        self.after_step(context)

    def after_step(self, context: Context) -> None:
        super().after_step(context)
        self.by_phase[context.phase, context.step] = self.weights[context.step]


def close(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Which entries are within the tolerance of the reference set; none may be far off."""
    difference = (found - expected).abs().flatten()
    assert difference.max() <= 1e-4
    return difference <= 2e-6


@needs_golden
def test_lt_sft_equals_the_reference_in_both_phases() -> None:
    stored = case("lt_sft")
    hyper, expected = stored.content["hyper"], stored.expected
    full, sparse = hyper["T_full"], hyper["T_sparse"]
    method = made("lt_sft", entries=hyper["k"], full_share=full / (full + sparse))
    recorder = ByPhase()
    run_toy(
        Frozen(lambda name: name in hyper["frozen"]), method, recorder,
        steps=full + sparse, weight_decay=0.0, warmup_share=0.16,
    )  # fmt: skip
    near = []
    for key, tensor in expected.items():
        part, _, name = key.partition("/")
        if part == "mask_bits":
            assert torch.equal(method.masks[name], unpacked(tensor, method.masks[name].shape)), name  # type: ignore[attr-defined]
        else:
            found = recorder.by_phase[(0, full) if part == "phase1" else (1, sparse)]
            near.append(close(found[name], tensor))
    assert torch.cat(near).float().mean() >= 0.999
    assert sum(int(mask.sum()) for mask in method.masks.values()) == hyper["k"]  # type: ignore[attr-defined]


def entries_changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> int:
    """Changed entries outside the head of the conformance model."""
    return sum(int((after[name] != before[name]).sum()) for name in after if not name.startswith("classifier"))


@pytest.mark.parametrize(("frozen", "decay"), [("gradient", 0.0), ("hard", 0.1)])
@pytest.mark.parametrize("iterations", [1, 2])
def test_lt_sft_changes_no_more_entries_than_its_budget(frozen: str, decay: float, iterations: int) -> None:
    method = made("lt_sft", entries=101, iterations=iterations, frozen=frozen)
    after = weights(method, weight_decay=decay)
    assert 0 < entries_changed(start(), after) <= 101
    assert sum(int(mask.sum()) for mask in method.masks.values()) == 101 // iterations * iterations  # type: ignore[attr-defined]


def test_lt_sft_with_all_entries_is_plain_fine_tuning_in_its_last_phase() -> None:
    # the phases have dropout streams of their own, so the comparison needs a model without dropout
    def without_dropout(*methods: Method, steps: int) -> dict[str, torch.Tensor]:
        given = job(*methods, steps=steps, **PLAIN)
        for module in given.context.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        found = train(given).weights
        assert found is not None
        return found

    all_entries = without_dropout(made("lt_sft", share=1.0, full_share=4 / 12), steps=12)
    assert_same(all_entries, without_dropout(steps=8), tolerance=1e-6)


def test_lt_sft_rewinds_to_the_start_of_the_iteration_and_keeps_what_was_selected() -> None:
    method, recorder = made("lt_sft", entries=100, iterations=2), ByPhase()
    outcome(method, recorder, **PLAIN)
    assert [key for key in recorder.by_phase if key[1] == 0] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert_same(recorder.by_phase[1, 0], recorder.by_phase[0, 0])
    assert_same(recorder.by_phase[2, 0], recorder.by_phase[1, 3])
    assert_same(recorder.by_phase[3, 0], recorder.by_phase[1, 3])
    first = changed_positions(recorder.by_phase[0, 0], recorder.by_phase[1, 3])
    assert first <= changed_positions(recorder.by_phase[0, 0], recorder.by_phase[3, 3])


def changed_positions(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[tuple[str, int]]:
    return {
        (name, position)
        for name, tensor in after.items()
        for position in (tensor != before[name]).flatten().nonzero().flatten().tolist()
    }


def test_the_penalty_of_lt_sft_is_the_derivative_of_its_formula() -> None:
    given = job(made("lt_sft", l1=50.0), steps=4, **PLAIN)
    context, method = given.context, given.methods[0]
    with torch.no_grad():
        for parameter in context.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
            parameter.grad = torch.zeros_like(parameter)
    method.gradients_ready(context)
    named = dict(context.model.named_parameters())
    leaves = {name: parameter.detach().clone().requires_grad_() for name, parameter in named.items()}
    total = sum(leaf.numel() for leaf in leaves.values())
    loss = 50.0 / total * sum((leaf - context.initial[name]).abs().sum() for name, leaf in leaves.items())
    loss.backward()  # type: ignore[union-attr]
    for name, leaf in leaves.items():
        assert torch.allclose(named[name].grad, leaf.grad, atol=1e-8), name  # type: ignore[arg-type]


def test_lt_sft_keeps_the_best_of_its_last_phase_and_no_dense_model() -> None:
    found = outcome(made("lt_sft", entries=100), keep="best", evaluations=2, learning_rate=1e-2, **PLAIN)
    assert found.weights is not None
    assert entries_changed(start(), found.weights) <= 100


def test_lt_sft_leaves_normalisation_when_asked() -> None:
    moved = changed(start(), weights(made("lt_sft", share=1.0, freeze_normalisation=True), **PLAIN))
    assert moved
    assert not any("LayerNorm" in name for name in moved)


def test_lt_sft_refuses_decay_too_few_steps_and_other_selections() -> None:
    factory = plugins("methods")["lt_sft"].factory
    plain = Training(weight_decay=0.0)
    assert factory.check(factory.Config(), plain, "classification", []) == []
    assert "weight_decay" in factory.check(factory.Config(), Training(), "classification", [])[0]
    assert factory.check(factory.Config(frozen="hard"), Training(), "classification", []) == []
    short = factory.check(factory.Config(iterations=3), Training(weight_decay=0.0, steps=5), "classification", [])
    assert "expected at least 6 steps" in short[0]
    assert factory(factory.Config(iterations=3)).phases(6) == [1] * 6
    with pytest.raises(FtbenchError, match="at least 6 steps"):
        factory(factory.Config(iterations=3)).phases(5)
    sift = plugins("methods")["sift"].factory
    assert "sift" in factory.check(factory.Config(), plain, "classification", [sift])[0]


def test_lt_sft_refuses_a_budget_that_the_model_does_not_have() -> None:
    with pytest.raises(FtbenchError, match="entries that can be selected"):
        outcome(made("lt_sft", entries=10**9), **PLAIN)


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


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("sift", "share", 0), ("sift", "share", 1.5), ("lt_sft", "share", 0), ("lt_sft", "full_share", 1)],
)
def test_shares_out_of_bounds_are_refused(name: str, key: str, value: float) -> None:
    with pytest.raises(FtbenchError, match=key):
        validated(plugins("methods")[name].factory.Config, {key: value}, "study.yaml", "settings")
