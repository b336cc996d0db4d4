"""Methods that hold weights near their start: reference numbers, closed formulas, limiting cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden import assert_toy_equal, case, needs_golden, run_toy
from test_conformance import prepared, run, settings
from torch.nn import functional
from two_part_model import STEPS, UNEVEN, WHOLE, TwoPart, adam, assert_same, rows_of, trained

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.methods.dps_mix import DpsMix
from ftbench.methods.l2_sp import L2Sp
from ftbench.methods.mixout import Mixout
from ftbench.methods.recadam import RecAdam
from ftbench.training.job import Outcome
from ftbench.training.layers import LinearWeight, is_head
from ftbench.training.loop import train
from ftbench.training.method import Context, Method
from ftbench.training.weights import plain_state

ANCHORS = (L2Sp, Mixout, RecAdam)


@needs_golden
def test_decoupled_l2_sp_equals_the_reference_step_by_step() -> None:
    stored = case("l2_sp_decoupled")
    config = L2Sp.Config(rule="decoupled", pull=stored.content["hyper"]["weight_decay"], head="anchor")
    assert_toy_equal(*run_toy(L2Sp(config), steps=20), stored.expected)


@needs_golden
def test_recadam_equals_the_reference_step_by_step() -> None:
    stored = case("recadam")
    hyper = stored.content["hyper"]

    class Elsewhere(RecAdam):
        """Pulled to the stored point instead of the start."""

        def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
            self.anchor = {key.removeprefix("anchor/"): value for key, value in stored.inputs.items()}
            return super().wrap_optimizer(optimizer, context)

    config = RecAdam.Config(gamma=hyper["gamma"], slope=hyper["k"], midpoint_steps=hyper["t0"])
    assert_toy_equal(*run_toy(Elsewhere(config), steps=20), stored.expected)


@needs_golden
def test_mixout_equals_the_reference_step_by_step() -> None:
    stored = case("mixout")

    class Replayed(Mixout):
        """Mixout fed with the column masks that the reference drew."""

        def column_mask(self, weight: LinearWeight, context: Context) -> torch.Tensor:
            draws = stored.inputs[f"column_mask/{weight.name.removesuffix('.weight')}"]
            return draws[context.step - 1].bool().reshape(1, -1)

    config = Mixout.Config(share=stored.content["hyper"]["p"], gradient="reference", head=True)
    assert_toy_equal(*run_toy(Replayed(config), steps=20), stored.expected)


@pytest.mark.parametrize("cuts", [WHOLE, UNEVEN])
def test_coupled_l2_sp_minimises_the_loss_with_both_penalties(cuts: tuple[int, ...]) -> None:
    model, _ = trained(L2Sp(L2Sp.Config(pull=0.3, head_decay=0.2, scope="all")), cuts=cuts)
    reference, start = TwoPart(), TwoPart()
    optimizer = adam(list(reference.parameters()))
    for step in range(1, STEPS + 1):
        x, y = rows_of(step)
        shared = zip(reference.body.parameters(), start.body.parameters(), strict=True)
        penalty = 0.15 * sum(((weight - anchor.detach()) ** 2).sum() for weight, anchor in shared)
        penalty = penalty + 0.1 * sum((weight**2).sum() for weight in reference.classifier.parameters())
        optimizer.zero_grad()
        (functional.cross_entropy(reference(x).logits, y) + penalty).backward()
        optimizer.step()
    assert_same(model, reference)


@pytest.mark.parametrize("cuts", [WHOLE, UNEVEN])
def test_decoupled_l2_sp_pulls_by_rate_times_strength_before_the_adam_move(cuts: tuple[int, ...]) -> None:
    model, _ = trained(L2Sp(L2Sp.Config(rule="decoupled", pull=5.0, head_decay=2.0)), cuts=cuts)
    reference, start = TwoPart(), TwoPart()
    optimizer = adam(list(reference.parameters()))
    for step in range(1, STEPS + 1):
        x, y = rows_of(step)
        optimizer.zero_grad()
        functional.cross_entropy(reference(x).logits, y).backward()
        with torch.no_grad():
            reference.body.weight -= 0.01 * 5.0 * (reference.body.weight - start.body.weight)
            reference.classifier.weight *= 1 - 0.01 * 2.0
        optimizer.step()
    assert_same(model, reference)


def configured(name: str, training: Training | None = None, **config: Any) -> Outcome:
    job, method = prepared(name, training or settings(weight_decay=0.0))
    method.config = type(method).Config(**config)
    return train(job)


def assert_near(first: Outcome, second: Outcome, tolerance: float) -> None:
    assert first.weights is not None
    assert second.weights is not None
    for key, tensor in first.weights.items():
        if not key.endswith("key.bias"):  # exact gradient 0: Adam turns rounding into drift
            assert torch.allclose(tensor, second.weights[key], atol=tolerance), key


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("l2_sp", {"pull": 0.0, "head_decay": 0.0}),
        ("l2_sp", {"pull": 0.0, "head_decay": 0.0, "rule": "decoupled"}),
        ("mixout", {"share": 0.0, "head": True}),
        ("recadam", {"slope": 1e4, "midpoint_steps": 0}),  # lambda is 1 from the first step on
    ],
)
def test_without_its_pull_a_method_is_plain_fine_tuning(name: str, config: dict[str, Any]) -> None:
    assert_near(run("vanilla", settings(weight_decay=0.0)), configured(name, **config), 1e-5)


def distance(outcome: Outcome) -> float:
    """How far the pretrained part is from its start."""
    job, _ = prepared("vanilla", settings())
    start = plain_state(job.context.model)
    assert outcome.weights is not None
    moved = [
        (outcome.weights[name] - value).square().sum()
        for name, value in start.items()
        if not is_head(name, job.context.model)
    ]
    return float(torch.stack(moved).sum().sqrt())


@pytest.mark.parametrize(("rule", "strengths"), [("coupled", (0.0, 0.1, 1.0)), ("decoupled", (0.0, 100.0, 300.0))])
def test_a_stronger_pull_of_l2_sp_keeps_weights_nearer(rule: str, strengths: tuple[float, ...]) -> None:
    distances = [distance(configured("l2_sp", rule=rule, pull=pull, scope="all")) for pull in strengths]
    assert distances[0] > 1.2 * distances[1] > 1.2**2 * distances[2]


def test_l2_sp_switches_ordinary_decay_off() -> None:
    outcomes = [configured("l2_sp", settings(weight_decay=decay), pull=0.0, head_decay=0.0) for decay in (0.0, 0.5)]
    assert_near(outcomes[0], outcomes[1], 0.0)


def test_recadam_before_its_midpoint_stays_at_the_pretrained_weights() -> None:
    outcome = configured("recadam", slope=1e4, midpoint_steps=11)  # lambda is 0 up to step 10
    assert distance(outcome) < 0.05 * distance(run("vanilla"))
    with pytest.raises(FtbenchError, match="midpoint_steps"):
        configured("recadam", midpoint_steps=12)


def test_recadam_from_a_random_start_contracts_to_the_pretrained_weights() -> None:
    """With lambda 0 the distance shrinks by the factor 1 - eta gamma in every step."""

    class Watch(Method):
        name = "watch"

        def __init__(self) -> None:
            super().__init__(self.Config())
            self.distances: list[float] = []

        def after_step(self, context: Context) -> None:
            named = [item for item in context.model.named_parameters() if not is_head(item[0], context.model)]
            moved = torch.stack([(value.detach() - pretrained[name]).square().sum() for name, value in named])
            self.distances.append(float(moved.sum().sqrt()))

    training = settings(schedule="constant", warmup_share=0.0, weight_decay=0.0)
    job, method = prepared("recadam", training)
    pretrained = {name: value.detach().clone() for name, value in job.context.model.named_parameters()}
    method.config = RecAdam.Config(start="random", gamma=100.0, slope=1e4, midpoint_steps=11)
    method.prepare_model(job.context)
    watch = Watch()
    job.methods = [method, watch]
    train(job)
    ratios = np.array(watch.distances[1:10]) / np.array(watch.distances[:9])
    assert watch.distances[0] > 1
    assert np.allclose(ratios, 1 - 1e-3 * 100, atol=1e-4)


@pytest.mark.parametrize("family_weight", [(5, 4000), (4000, 5)])
def test_mixout_has_the_trained_weight_as_its_mean_and_draws_whole_input_columns(
    family_weight: tuple[int, int],
) -> None:
    """Also for matrices that are stored transposed; the columns of one draw share their mask."""
    generator = torch.Generator().manual_seed(1)
    dimension = int(family_weight[1] > family_weight[0])
    value, start = torch.randn(family_weight, generator=generator), torch.randn(family_weight, generator=generator)
    method = Mixout(Mixout.Config(share=0.6))
    context = Context(torch.nn.Module(), Training(), "classification", seed=0, step=1)
    mask = method.column_mask(LinearWeight("w", value, dimension), context)
    assert mask.shape[1 - dimension] == 1
    assert abs(float(mask.float().mean()) - 0.4) < 0.03
    effective = start + mask * (value - start) / 0.4
    assert abs(float((effective - value).mean())) < 0.05


@pytest.mark.parametrize("gradient", ["exact", "reference"])
def test_mixouts_gradient_is_the_derivative_and_the_released_one_lacks_a_factor(gradient: str) -> None:
    seen: dict[str, torch.Tensor] = {}

    class Watch(Method):
        name = "watch"

        def gradients_ready(self, context: Context) -> None:
            if context.step == 3:
                seen.update({name: value.detach().clone() for name, value in context.model.named_parameters()})
                seen["gradient"] = context.model.body.weight.grad.clone()

    method = Mixout(Mixout.Config(share=0.5, gradient=gradient))
    trained(method, Watch(Watch.Config()))
    model, start = TwoPart(), TwoPart().body.weight.detach()
    weight = seen["body.weight"].clone().requires_grad_()
    mask = method.column_mask(LinearWeight("body.weight", weight, 1), Context(model, Training(), "", seed=0, step=3))
    assert 0 < int(mask.sum()) < 4
    x, y = rows_of(3)
    mixed = start + mask * (weight - start) / 0.5
    hidden = torch.tanh(x @ mixed.T + seen["body.bias"])
    loss = functional.cross_entropy(hidden @ seen["classifier.weight"].T + seen["classifier.bias"], y)
    (derivative,) = torch.autograd.grad(loss, weight)
    assert torch.allclose(seen["gradient"], derivative * (1 if gradient == "exact" else 0.5), atol=1e-6)


@pytest.mark.parametrize("first", ANCHORS)
@pytest.mark.parametrize("second", ANCHORS)
def test_two_anchors_are_refused(first: type[Method], second: type[Method]) -> None:
    reasons = first.check(first.Config(), Training(), "classification", [second])
    assert any(second.name in reason for reason in reasons)


def test_two_methods_with_effective_weights_are_refused() -> None:
    assert Mixout.check(Mixout.Config(), Training(), "classification", [DpsMix])
    assert L2Sp.check(L2Sp.Config(), Training(), "classification", [DpsMix])
    assert not L2Sp.check(L2Sp.Config(rule="decoupled"), Training(), "classification", [DpsMix])


def test_recadam_refuses_groups_that_hold_head_and_pretrained_part_together() -> None:
    class OneGroup(Method):
        name = "one_group"

        def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
            merged = [parameter for group in groups for parameter in group["params"]]
            return [{**groups[0], "params": merged, "names": [name for group in groups for name in group["names"]]}]

    recadam, one_group = RecAdam(RecAdam.Config(gamma=1.0)), OneGroup(OneGroup.Config())
    with pytest.raises(FtbenchError, match="put `recadam` behind the method that makes the groups"):
        trained(recadam, one_group)
    trained(one_group, recadam)
