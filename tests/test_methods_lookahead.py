"""Methods that take a gradient at another point than the weights: reference numbers, closed formulas, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden import case, needs_golden, toy_training
from torch.nn import functional
from two_part_model import STEPS, UNEVEN, WHOLE, TwoPart, adam, assert_same, rows_of, trained

from ftbench.config.study import Training
from ftbench.methods.activeness_aware import ActivenessAware
from ftbench.methods.extragradient import Extragradient
from ftbench.methods.mixout import Mixout
from ftbench.methods.vanilla import Vanilla
from ftbench.training.batches import Batch
from ftbench.training.job import Job
from ftbench.training.loop import train
from ftbench.training.method import Context, Method


class Bowl(torch.nn.Module):
    """A point on its own; the batch plays no part."""

    def __init__(self, start: torch.Tensor) -> None:
        super().__init__()
        self.point = torch.nn.Parameter(start.clone())

    def forward(self, attention_mask: torch.Tensor) -> Any:
        return type("Output", (), {"logits": self.point[None] * 1.0})()


class OneRow:
    """The same batch in every step."""

    steps_per_epoch = 8

    def step(self, number: int) -> list[Batch]:
        return [Batch({"attention_mask": torch.ones(1)}, None, np.arange(1))]

    def epoch(self) -> list[Batch]:
        return self.step(1)


class Quadratic(Method):
    """1/2 x A x as the loss; writes down where it was asked and where each step ended."""

    name = "quadratic"
    owns_criterion = True

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__(self.Config())
        self.matrix = matrix
        self.asked: list[torch.Tensor] = []
        self.reached: list[torch.Tensor] = []

    def criterion(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        self.asked.append(logits[0].detach().clone())
        return 0.5 * logits[0] @ self.matrix @ logits[0]

    def after_step(self, context: Context) -> None:
        self.reached.append(context.model.point.detach().clone())


def on_the_bowl(config: Extragradient.Config, matrix: torch.Tensor, start: torch.Tensor, **changes: Any) -> Quadratic:
    given = {"warmup_share": 0.0, "schedule": "constant", "clip_norm": None, "weight_decay": 0.0}
    training = toy_training(**{**given, **changes})
    quadratic = Quadratic(matrix)
    context = Context(Bowl(start), training, "classification", seed=0)
    train(Job(context, [Extragradient(config), quadratic], OneRow(), int(training.steps or 0), say=lambda _: None))
    return quadratic


@needs_golden
def test_two_pass_extragradient_equals_the_reference_on_a_bowl() -> None:
    stored = case("extragradient_adam")
    hyper = stored.content["hyper"]
    found = on_the_bowl(
        Extragradient.Config(rule="extra"), stored.inputs["A"], stored.inputs["x0"],
        steps=hyper["T"], learning_rate=hyper["lr"], betas=tuple(hyper["betas"]), epsilon=hyper["eps"],
    )  # fmt: skip
    assert torch.allclose(torch.stack(found.reached), stored.expected["point"], atol=1e-6, rtol=0)
    assert torch.allclose(torch.stack(found.asked[1::2]), stored.expected["lookahead"], atol=1e-6, rtol=0)


def test_extrapolation_by_the_past_asks_one_adam_step_ahead_of_the_point() -> None:
    """Adam written out on a bowl: theta' = theta - r eta mhat/(sqrt(vhat)+e), and its gradient applied at theta."""
    matrix, point = np.diag([1.0, 4.0]), np.array([1.0, -2.0])
    steps, rate, reach, first, second, epsilon = 6, 0.05, 0.7, 0.8, 0.9, 1e-8
    found = on_the_bowl(
        Extragradient.Config(reach=reach), torch.from_numpy(matrix).float(), torch.from_numpy(point).float(),
        steps=steps, learning_rate=rate, betas=(first, second),
    )  # fmt: skip
    mean, square = np.zeros(2), np.zeros(2)
    for step in range(1, steps + 1):
        ahead = point.copy()
        if step > 1:
            before = step - 1
            ahead -= reach * rate * (mean / (1 - first**before)) / (np.sqrt(square / (1 - second**before)) + epsilon)
        assert np.allclose(found.asked[step - 1].numpy(), ahead, atol=1e-6)
        gradient = matrix @ ahead
        mean, square = first * mean + (1 - first) * gradient, second * square + (1 - second) * gradient**2
        point = point - rate * (mean / (1 - first**step)) / (np.sqrt(square / (1 - second**step)) + epsilon)
        assert np.allclose(found.reached[step - 1].numpy(), point, atol=1e-6)


class Normalised(torch.nn.Module):
    """The network of the reference numbers: Linear, BatchNorm, ReLU, Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.l, self.bn, self.c = torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return type("Output", (), {"logits": self.c(torch.relu(self.bn(self.l(x))))})()


class Descent(Method):
    """Stochastic gradient descent with momentum in the place of Adam, and a record of the weights."""

    name = "descent"

    def __init__(self, rate: float, momentum: float) -> None:
        super().__init__(self.Config())
        self.rate, self.momentum = rate, momentum
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
        groups = [{"params": group["params"], "lr": self.rate} for group in optimizer.param_groups]
        return torch.optim.SGD(groups, momentum=self.momentum)

    def after_step(self, context: Context) -> None:
        self.weights[context.step] = {name: value.detach().clone() for name, value in context.model.named_parameters()}


@needs_golden
def test_activeness_aware_equals_the_reference_step_by_step() -> None:
    stored = case("activeness_aware")
    hyper, inputs = stored.content["hyper"], stored.inputs

    class Stored(OneRow):
        def step(self, number: int) -> list[Batch]:
            x, y = inputs["x"][number - 1], inputs["y"][number - 1].long()
            return [Batch({"x": x, "attention_mask": torch.ones(1)}, y, np.arange(len(y)))]

    model = Normalised()
    initial = {key.removeprefix("initial/"): value for key, value in inputs.items() if key.startswith("initial/")}
    model.load_state_dict(initial)
    training = toy_training(
        steps=hyper["T"], learning_rate=0.05, warmup_share=0.0, schedule="constant", clip_norm=None
    )  # fmt: skip
    method = ActivenessAware(ActivenessAware.Config(radius=hyper["r"], mix=hyper["alpha"], norm="tensor"))
    descent = Descent(0.05, 0.9)
    context = Context(model, training, "classification", seed=0)
    train(Job(context, [method, descent], Stored(), hyper["T"], say=lambda _: None))
    for step in range(1, hyper["T"] + 1):
        for name, value in descent.weights[step].items():
            if name not in stored.content["tolerance"]["ignore"]:
                expected = stored.expected[f"step_{step:04d}/{name}"]
                assert torch.allclose(value, expected, atol=2e-6, rtol=0), (step, name)


@pytest.mark.parametrize("cuts", [WHOLE, UNEVEN])
def test_activeness_aware_mixes_the_gradients_of_the_weights_and_of_a_point_uphill(cuts: tuple[int, ...]) -> None:
    """The step uphill has the stated length over all tensors, and is one per optimiser step."""
    model, outcome = trained(ActivenessAware(ActivenessAware.Config(radius=0.3, mix=0.6)), cuts=cuts)
    reference = TwoPart()
    optimizer = adam(list(reference.parameters()))
    for step in range(1, STEPS + 1):
        x, y = rows_of(step)
        weights = list(reference.parameters())
        loss = functional.cross_entropy(reference(x).logits, y)
        first = torch.autograd.grad(loss, weights)
        length = torch.sqrt(sum((gradient**2).sum() for gradient in first))
        with torch.no_grad():
            for weight, gradient in zip(weights, first, strict=True):
                weight += 0.3 * gradient / length
        second = torch.autograd.grad(functional.cross_entropy(reference(x).logits, y), weights)
        with torch.no_grad():
            for weight, one, two in zip(weights, first, second, strict=True):
                weight -= 0.3 * one / length
                weight.grad = 0.4 * one + 0.6 * two
        optimizer.step()
        assert outcome.log[step - 1]["loss"] == pytest.approx(loss.item(), abs=1e-6)
    assert_same(model, reference)


@pytest.mark.parametrize(
    "method",
    [
        Extragradient(Extragradient.Config(reach=0.0)),
        ActivenessAware(ActivenessAware.Config(radius=0.0)),
        ActivenessAware(ActivenessAware.Config(mix=0.0)),
        ActivenessAware(ActivenessAware.Config(mix=0.0, norm="tensor")),
    ],
    ids=["no reach", "no radius", "no mix", "no mix, each tensor"],
)
def test_without_a_look_ahead_a_method_is_plain_fine_tuning(method: Method) -> None:
    assert_same(trained(method)[0], trained(Vanilla(Vanilla.Config()))[0])


def test_a_tensor_without_gradient_is_not_moved_and_gives_no_nan() -> None:
    method = ActivenessAware(ActivenessAware.Config(norm="tensor"))
    weight = torch.nn.Parameter(torch.ones(3))
    method._uphill([weight], [torch.zeros(3)])
    assert torch.equal(weight, torch.ones(3))


@pytest.mark.parametrize("method", [Extragradient, ActivenessAware])
def test_a_companion_that_moves_the_weights_as_well_is_refused(method: type[Method]) -> None:
    assert method.check(method.Config(), Training(), "classification", [Mixout])
    assert not method.check(method.Config(), Training(), "classification", [Vanilla])


def test_a_step_ahead_with_scaled_gradients_is_refused() -> None:
    training = Training(precision="fp16")
    assert Extragradient.check(Extragradient.Config(rule="extra"), training, "classification", [])
    assert not Extragradient.check(Extragradient.Config(), training, "classification", [])
