"""Exponential moving average of the weights: the soup of one trajectory, recent steps counting most.

Training is plain; evaluation and the exported weights are the average. A control for soups over several runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.trajectory import TrajectoryMean

if TYPE_CHECKING:
    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class Ema(TrajectoryMean):
    """The average starts anew in every phase."""

    name = "ema"
    summary = "exponential moving average of the weights of one training"
    paper = "Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging"
    formula = "mean_t = sum_s decay^(t-s) theta_s / sum_s decay^(t-s), s = 1..t"
    deviations = ("weights before the first step never enter: the average is divided by what it has gathered",)
    search = {"settings.decay": (0.9, 0.99, 0.999)}  # commonly searched
    cost = Cost(memory="one copy of the trained parameters in float32, two while evaluating")

    class Config(Strict):
        decay: float = Field(0.99, ge=0, lt=1, description="what a step counts less than the one after it")

    @classmethod
    def check(cls, config: Config, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        return cls.rivals(others)

    def after_step(self, context: Context) -> None:
        if context.step == 1:
            self.mean = {}
        # the newest step's share of a sum of powers that has grown for `step` steps
        self.enter(context, (1 - self.config.decay) / (1 - self.config.decay**context.step))
