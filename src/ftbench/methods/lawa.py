"""Latest weight averaging: the mean of the last few checkpoints of one training, taken at equal distances.

Training is plain; evaluation and the exported weights are the mean. A control for soups over several runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.trajectory import TrajectoryMean

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context

_KEPT = "kept/"  # in the state: checkpoints by number and name


class Lawa(TrajectoryMean):
    """Until the first checkpoint the present weights stand for the mean. It starts anew in every phase."""

    name = "lawa"
    summary = "mean of the last checkpoints of one training"
    paper = (
        "Kaddour (2022), Stop wasting my time! Saving days of ImageNet and BERT training with latest weight averaging"
    )
    formula = "mean of theta at the last k of the steps n, 2n, 3n, ... and at the last step"
    deviations = (
        "checkpoints lie `every` part of the training apart, so that short trainings have some; the paper takes one an"
        " epoch",
    )
    search = {"settings.checkpoints": (3, 5, 10), "settings.every": (0.05, 0.1)}  # our own grid for short runs
    cost = Cost(memory="`checkpoints` + 1 copies of the trained parameters in float32")

    class Config(Strict):
        checkpoints: int = Field(5, ge=1, description="how many of the latest are averaged")
        every: float = Field(0.1, gt=0, le=1, description="distance between checkpoints as a part of the training")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.kept: list[dict[str, torch.Tensor]] = []

    @classmethod
    def check(cls, config: Config, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        return cls.rivals(others)

    def after_step(self, context: Context) -> None:
        import torch

        if context.step == 1:
            self.kept, self.mean = [], {}
        distance = max(1, round(self.config.every * context.total_steps))
        if context.step % distance and context.step != context.total_steps:
            return
        self.kept.append(
            {
                name: parameter.detach().float().clone()
                for name, parameter in context.model.named_parameters()
                if parameter.requires_grad
            }
        )
        self.kept = self.kept[-self.config.checkpoints :]
        self.mean = {name: torch.stack([one[name] for one in self.kept]).mean(0) for name in self.kept[0]}

    def state_dict(self) -> dict[str, Any]:
        kept = {f"{_KEPT}{number}/{name}": value for number, one in enumerate(self.kept) for name, value in one.items()}
        return {**super().state_dict(), **kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        found: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in state.items():
            if key.startswith(_KEPT):
                number, _, name = key.removeprefix(_KEPT).partition("/")
                found.setdefault(int(number), {})[name] = value
        self.kept = [found[number] for number in sorted(found)]
