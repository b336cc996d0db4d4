"""LT-SFT: full training, selection, rewind, sparse training. And what LT-SFT shares with SIFT: resume and bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden import Recorder, case, needs_golden, run_toy, unpacked
from method_runs import Frozen, assert_same, changed, close, job, made, outcome, start, weights, whole
from test_conformance import _stop_after

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.config.study import Training
from ftbench.methods.base import Context, Method
from ftbench.outputs import Stopped
from ftbench.plugins import plugins
from ftbench.training.checkpoint import Checkpoints
from ftbench.training.loop import train

PLAIN = {"weight_decay": 0.0}


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
        return whole(start(), found)

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
    assert entries_changed(start(), whole(start(), found.weights)) <= 100


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
    assert "expected at least 6 steps" in factory.check_steps(factory.Config(iterations=3), 5, None)[0]
    assert factory(factory.Config(iterations=3)).phases(6) == [1] * 6
    with pytest.raises(FtbenchError, match="at least 6 steps"):
        factory(factory.Config(iterations=3)).phases(5)
    sift = plugins("methods")["sift"].factory
    assert "sift" in factory.check(factory.Config(), plain, "classification", [sift])[0]


def test_lt_sft_refuses_a_budget_that_the_model_does_not_have() -> None:
    with pytest.raises(FtbenchError, match="entries that can be selected"):
        outcome(made("lt_sft", entries=10**9), **PLAIN)


@pytest.mark.parametrize(
    ("name", "config"),
    [("lt_sft", {"entries": 100, "iterations": 2}), ("sift", {"delayed_reference": True, "share": 0.05})],
)
@pytest.mark.parametrize("stop", [1, 4, 8])
def test_a_run_stopped_in_any_phase_resumes_to_the_same_weights(
    name: str, config: dict[str, Any], stop: int, tmp_path: Path
) -> None:
    expected = weights(made(name, **config), **PLAIN)
    method = made(name, **config)
    stopped = job(method, **PLAIN)
    stopped.checkpoints, stopped.checkpoint_seconds = Checkpoints(tmp_path), 0.0
    _stop_after(method, stop)
    with pytest.raises(Stopped):
        train(stopped)
    resumed = job(made(name, **config), **PLAIN)
    resumed.checkpoints, resumed.context.initial = Checkpoints(tmp_path), {}
    found = train(resumed).weights
    assert found is not None
    assert_same(whole(start(), found), expected)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("sift", "share", 0), ("sift", "share", 1.5), ("lt_sft", "share", 0), ("lt_sft", "full_share", 1)],
)
def test_shares_out_of_bounds_are_refused(name: str, key: str, value: float) -> None:
    with pytest.raises(FtbenchError, match=key):
        validated(plugins("methods")[name].factory.Config, {key: value}, "study.yaml", "settings")
