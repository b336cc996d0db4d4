"""Averages along one training, against the weights of every step written down beside them."""

from __future__ import annotations

import numpy as np
import torch
from golden import Recorder, ToyBatches, needs_golden, toy_model, toy_training

from ftbench.methods.ema import Ema
from ftbench.methods.lawa import Lawa
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.method import Context, Method
from ftbench.training.trajectory import TrajectoryMean

pytestmark = needs_golden
NAME = "classifier.weight"


def trained(method: Method, evaluate: bool = False) -> tuple[Recorder, Outcome, list[torch.Tensor]]:
    """The toy trained for 12 steps; the weights that the evaluation saw."""
    torch.set_num_threads(1)
    training = toy_training(steps=12, evaluations=2 if evaluate else 0)
    context, recorder, seen = Context(toy_model(), training, "classification", 0), Recorder(), []

    def look(model: torch.nn.Module) -> float:
        seen.append(model.get_parameter(NAME).detach().clone())
        return 0.0

    outcome = train(Job(context, [method, recorder], ToyBatches(), 12, look if evaluate else None, say=lambda _: None))
    return recorder, outcome, seen


def exported(outcome: Outcome) -> torch.Tensor:
    assert outcome.weights is not None
    return outcome.weights[NAME]


def test_ema_is_the_weighted_mean_of_all_steps() -> None:
    recorder, outcome, seen = trained(Ema(Ema.Config(decay=0.8)), evaluate=True)
    for last, found in ((6, seen[0]), (12, seen[1]), (12, exported(outcome))):
        powers = np.array([0.8 ** (last - step) for step in range(1, last + 1)])
        expected = sum(
            float(power) * recorder.weights[step + 1][NAME].double() for step, power in enumerate(powers / powers.sum())
        )
        torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)


def test_lawa_is_the_mean_of_the_last_checkpoints() -> None:
    recorder, outcome, seen = trained(Lawa(Lawa.Config(checkpoints=2, every=0.25)), evaluate=True)
    for steps, found in (((3, 6), seen[0]), ((9, 12), exported(outcome))):
        expected = torch.stack([recorder.weights[step][NAME] for step in steps]).mean(0)
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_training_itself_goes_on_as_without_an_average() -> None:
    plain = trained(Method(Method.Config()))[0].weights[12][NAME]
    for method in (Ema(Ema.Config()), Lawa(Lawa.Config())):
        assert torch.equal(trained(method, evaluate=True)[0].weights[12][NAME], plain)


def test_two_averages_in_one_run_are_refused() -> None:
    assert "only one of them" in Ema.check(Ema.Config(), toy_training(), "classification", [Lawa])[0]
    assert Lawa.check(Lawa.Config(), toy_training(), "classification", [Method]) == []
    assert issubclass(Ema, TrajectoryMean)
