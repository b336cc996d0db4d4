"""Dynamic parameter selection, dense and mixed: stages, shares, what frozen means, and the switches."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from method_runs import assert_same, job, made, weights

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.config.study import Training
from ftbench.methods.base import Context
from ftbench.methods.dps_mix import DpsMix
from ftbench.methods.vanilla import Vanilla
from ftbench.plugins import plugins
from ftbench.training.dps_stages import DpsConfig, Stages
from ftbench.training.loop import train
from ftbench.training.masks import kept_entries, largest
from ftbench.training.weights import plain_state

BOTH = pytest.mark.parametrize("name", ["dps_dense", "dps_mix"])


def stages(total: int, ratio: float, per_epoch: int = 0, **config: object) -> Stages:
    context = SimpleNamespace(total_steps=total, steps_per_epoch=per_epoch)
    return Stages.of(DpsConfig(update_ratio=ratio, **config), context)  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize("frozen", ["gradient", "update"])
def test_dps_that_drops_nothing_is_plain_fine_tuning(name: str, frozen: str) -> None:
    assert_same(weights(made(name, drop_share=0.0, update_ratio=0.2, frozen=frozen)), weights(), tolerance=1e-5)


def test_dps_keeps_the_stated_share_of_every_matrix() -> None:
    method = made("dps_dense", drop_share=0.3, update_ratio=0.25)
    train(job(method))
    masks = method.masks  # type: ignore[attr-defined]
    assert masks
    for mask in masks.values():
        assert int(mask.sum()) == math.ceil(mask.numel() * 0.7)


@BOTH
@pytest.mark.parametrize("frozen", ["gradient", "update", "hard"])
def test_dropped_entries_of_even_stages_stay_unless_only_their_gradient_is_masked(name: str, frozen: str) -> None:
    method = made(name, drop_share=0.5, update_ratio=0.25, frozen=frozen)
    given = job(method)
    before: dict[str, torch.Tensor] = {}
    moved: list[str] = []
    after = method.after_step

    def watch(context: Context) -> None:
        after(context)
        now = {key: tensor.clone() for key, tensor in plain_state(context.model).items()}
        if not stages(12, 0.25).collects(context.step):
            for key, mask in method.masks.items():  # type: ignore[attr-defined]
                if not torch.equal(now[key][~mask], before[key][~mask]):
                    moved.append(key)
        before.update(now)

    method.after_step = watch  # type: ignore[method-assign]
    train(given)
    assert bool(moved) == (frozen == "gradient")


@BOTH
@pytest.mark.parametrize(("frozen", "seen"), [("gradient", False), ("update", True), ("hard", False)])
def test_moments_see_dropped_entries_only_where_the_update_is_masked(name: str, frozen: str, seen: bool) -> None:
    method = made(name, drop_share=0.5, update_ratio=0.5, frozen=frozen)
    found: list[bool] = []

    class Looking(Vanilla):
        def gradients_clipped(self, context: Context) -> None:
            if context.step == 12:
                for key, parameter in context.model.named_parameters():
                    if key in method.masks and parameter.grad is not None:  # type: ignore[attr-defined]
                        found.append(bool(parameter.grad[~method.masks[key]].any()))  # type: ignore[attr-defined]

    train(job(method, Looking(Vanilla.Config())))
    assert found
    assert any(found) == seen


def test_stages_alternate_and_have_the_stated_length() -> None:
    found = stages(60, 0.05)
    assert found.length == 3
    assert [found.collects(step) for step in range(1, 13)] == [True] * 3 + [False] * 3 + [True] * 3 + [False] * 3


@pytest.mark.parametrize(("rows", "length"), [(500, 1), (1000, 3)])
def test_stages_by_epoch_are_those_of_the_reference_with_few_examples(rows: int, length: int) -> None:
    """Three epochs of batches of 16; the lengths stand in the reference's scripts for 500 and 1,000 examples."""
    per_epoch = math.ceil(rows / 16)
    assert stages(3 * per_epoch, 0.05, per_epoch, ratio_of="epoch").length == length


@pytest.mark.parametrize("ratio", [0.5, 0.3, 0.07, 0.05, 0.01, 1 / 3, 1 / 49])
def test_a_stage_without_steps_is_refused_with_the_smallest_number_that_works(ratio: float) -> None:
    enough = next(steps for steps in range(1, 1000) if int(steps * ratio) >= 1)
    for short in (1, enough - 1):
        with pytest.raises(FtbenchError, match=rf"run of {short} steps .* expected at least {enough} steps"):
            stages(short, ratio)
        with pytest.raises(FtbenchError, match=rf"epoch of {short} steps .* expected at least {enough} steps"):
            stages(1000, ratio, short, ratio_of="epoch")
    assert stages(enough, ratio).length >= 1


@BOTH
def test_a_run_too_short_for_its_stages_is_refused_before_its_first_step(name: str) -> None:
    factory = plugins("methods")[name].factory
    config = factory.Config()
    assert factory.check_steps(config, 20, None) == []
    assert "at least 20 steps" in factory.check_steps(config, 19, None)[0]
    epoch = factory.Config(ratio_of="epoch")
    assert factory.check_steps(epoch, 19, None) == []
    assert "an epoch of 19 steps" in factory.check_steps(epoch, 1000, 19)[0]
    given = job(made(name))
    with pytest.raises(FtbenchError, match="at least 20 steps"):
        train(given)
    assert given.context.step == 0


@BOTH
def test_dps_trains_with_stages_by_epoch(name: str) -> None:
    method = made(name, update_ratio=0.2, ratio_of="epoch")  # five steps an epoch: stages of one step
    assert len(train(job(method)).log) == 12
    assert method.stage == 12  # type: ignore[attr-defined]


@BOTH
def test_dps_refuses_another_selection(name: str) -> None:
    factory = plugins("methods")[name].factory
    others = [plugins("methods")[other].factory for other in ("dps_dense", "dps_mix", "sift") if other != name]
    assert len(factory.check(factory.Config(), Training(), "classification", others)) == 2


def test_masks_hold_the_largest_scores() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.3], [0.5, 0.2, 0.7]])
    assert largest(scores, 3).tolist() == [[False, True, False], [True, False, True]]
    assert largest(scores, 6).all()
    assert kept_entries(10, 0.3) == 7


@pytest.mark.parametrize(
    ("penalty", "length", "kept"),
    [("auto", 49, 0), ("auto", 50, 1), ("on", 49, 1), ("on", 2, 1), ("off", 49, 0), ("off", 500, 0)],
)
def test_the_frequency_penalty_prefers_columns_that_were_drawn_less(penalty: str, length: int, kept: int) -> None:
    """Column 0 has the larger mean score and was drawn in every step; with exp(-draws/u) column 1 overtakes it."""
    method = made("dps_mix", drop_share=0.5, frequency_penalty=penalty)
    assert isinstance(method, DpsMix)
    method.counts = {"w": torch.tensor([[float(length), 1.0]])}
    method.scores = {"w": torch.tensor([[1.2 * length, 1.0]])}
    mask = method._selected("w", torch.zeros(1, 2), Stages(length))
    assert mask.tolist() == [[kept == 0, kept == 1]]


@pytest.mark.parametrize("step", [1, 6])
@pytest.mark.parametrize("factor", ["exact", "reference"])
def test_the_gradient_of_dps_mix_is_the_derivative_of_its_mixture(factor: str, step: int) -> None:
    """Step 1 lies in an odd, step 6 in an even stage; the reference leaves out 1/(1-p)."""
    torch.manual_seed(0)
    method = made("dps_mix", drop_share=0.4, update_ratio=0.5, gradient_factor=factor)
    assert isinstance(method, DpsMix)
    model, rows = torch.nn.Sequential(torch.nn.Linear(6, 5, bias=False)), torch.randn(7, 6)
    context = Context(model, Training(), "classification", seed=3, total_steps=10)
    for context.step in range(1, step + 1):
        model[0].weight.grad = None
        method.begin_passes(context)
        model(rows).square().sum().backward()
        method.end_passes(context)
        method.gradients_ready(context)
    anchor = (method.anchors if step == 1 else method.snapshots)["0.weight"]
    leaf = model[0].weight.detach().clone().requires_grad_()
    effective = anchor + method.masks["0.weight"] * (leaf - anchor) / 0.6
    (rows @ effective.T).square().sum().backward()
    assert leaf.grad is not None
    expected = leaf.grad * (1.0 if factor == "exact" else 0.6)
    assert torch.allclose(model[0].weight.grad, expected, rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [2, 7])
def test_dps_mix_computes_its_formulas_to_the_last_bit(step: int) -> None:
    """Whatever the order of its operations is made for, the numbers are those of the formulas as they are written."""
    torch.manual_seed(0)
    method = made("dps_mix", drop_share=0.3, update_ratio=0.5)
    assert isinstance(method, DpsMix)
    layer = torch.nn.Linear(300, 200)
    model, name = torch.nn.Sequential(layer), "0.weight"
    context = Context(model, Training(), "classification", seed=3, total_steps=10)
    for context.step in range(1, step + 1):
        value, gradient = layer.weight.detach().clone(), torch.randn(200, 300)
        before = method.scores.get(name, torch.zeros(200, 300)).clone()
        method.begin_passes(context)
        anchor, mask = (method.anchors if step == 2 else method.snapshots).get(name), method.masks[name]
        effective, layer.weight.grad = layer.weight.detach().clone(), gradient.clone()
        method.end_passes(context)
        method.gradients_ready(context)
        method.after_step(context)
        layer.weight.data.add_(torch.randn(200, 300), alpha=0.1)  # as an optimiser would
    assert anchor is not None
    assert torch.equal(effective, anchor + mask * (value - anchor) / (1 - 0.3))
    assert not torch.equal(effective, value)
    assert torch.equal(layer.weight.grad, gradient * mask)
    if step == 2:
        assert torch.equal(method.scores[name], before + mask * gradient.square() / 1000)


@BOTH
@pytest.mark.parametrize(
    ("key", "value"), [("drop_share", 1.0), ("drop_share", -0.1), ("update_ratio", 0), ("update_ratio", 0.6)]
)
def test_shares_out_of_bounds_are_refused(name: str, key: str, value: float) -> None:
    with pytest.raises(FtbenchError, match=key):
        validated(plugins("methods")[name].factory.Config, {key: value}, "study.yaml", "settings")


@BOTH
def test_the_released_head_start_is_uniform_within_one_over_the_root_of_its_inputs(name: str) -> None:
    plain = made(name).Config().head_start
    given = job(made(name, head_start="reference")).context.model
    untouched = job(made(name)).context.model
    assert plain == "plain"
    weight, bias = (plain_state(given)[f"classifier.{key}"] for key in ("weight", "bias"))
    bound = weight.shape[1] ** -0.5
    assert bias.abs().max() > 0
    assert weight.abs().max() <= bound
    # the model's own rule is N(0, 0.02), and biases of 0
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.2)
    again = job(made(name, head_start="reference")).context.model
    for key, tensor in plain_state(given).items():
        assert torch.equal(tensor, plain_state(again)[key])
        assert torch.equal(tensor, plain_state(untouched)[key]) == (not key.startswith("classifier."))
