"""What the dense and the mix form of dynamic parameter selection share: settings, stages, the released head start.

A stage lasts u steps. With rho of 0.05 and runs of 468 to 1,605 steps, as in the paper's tasks, u is 23 to 80.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.training import freezing
from ftbench.training.layers import is_head
from ftbench.training.seeds import torch_generator

if TYPE_CHECKING:
    from ftbench.training.method import Context

SEARCH = {  # commonly searched
    "settings.drop_share": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "settings.update_ratio": (0.05, 0.1, 0.2),
}


class DpsConfig(Strict):
    """Settings of both forms. The reference calls `drop_share` `reserve_p`, although it is what is left out."""

    drop_share: float = Field(0.3, ge=0, lt=1, description="p: share of each matrix that even stages leave out")
    update_ratio: float = Field(0.05, gt=0, le=0.5, description="rho: length of a stage as a share of `ratio_of`")
    ratio_of: Literal["run", "epoch"] = Field(
        "run",
        description="what rho is a share of; epoch: one epoch's steps, as in the reference's mode for few examples",
    )
    frozen: freezing.Meaning = Field("gradient", description=freezing.DESCRIPTION)
    head_start: Literal["plain", "reference"] = Field(
        "plain",
        description="plain: the head of every method; reference: U(-1/sqrt(n), 1/sqrt(n)) with n inputs, biases too, "
        "what the released code leaves it at",
    )


@dataclass(frozen=True)
class Stages:
    """Stages of `length` steps each: the odd ones collect statistics, the even ones update the selected entries."""

    length: int

    @classmethod
    def of(cls, config: DpsConfig, context: Context) -> Stages:
        """u = floor(rho T), T the steps of the run or of one epoch. An empty stage raises an `FtbenchError`."""
        epoch = config.ratio_of == "epoch"
        steps = context.steps_per_epoch if epoch else context.total_steps
        for reason in short_run(config, context.total_steps, context.steps_per_epoch):
            raise FtbenchError(f"dynamic parameter selection: found {reason}")
        return cls(int(steps * config.update_ratio))

    def index(self, step: int) -> int:
        """c = ceil(t / u), with steps counted from 1."""
        return -(-step // self.length)

    def collects(self, step: int) -> bool:
        """True in stage I."""
        return self.index(step) % 2 == 1


def start_head(config: DpsConfig, context: Context) -> None:
    """Draw the linear layers of the head as the released code does, where that is asked for. Its classifier is of a
    class of its own, which the model's rule for new weights skips. Draws come from the stream of new weights."""
    import torch

    if config.head_start == "plain":
        return
    generator = torch_generator(context.init_seed, "init", "dps_head")
    for name, module in context.model.named_modules():
        if not isinstance(module, torch.nn.Linear) or not is_head(name, context.model):
            continue
        bound = module.in_features**-0.5
        with torch.no_grad():
            for parameter in module.parameters():  # on the CPU, so that the draw does not depend on the device
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))


def empty_stage(update_ratio: float, steps: int, period: str = "a run") -> list[str]:
    """The reason why stages have no step, if they have none."""
    if int(steps * update_ratio) >= 1:
        return []
    enough = math.ceil(1 / update_ratio)
    while int(enough * update_ratio) < 1:  # rounding of the product, as in floor(rho T)
        enough += 1
    return [
        f"{period} of {steps} steps with `update_ratio: {update_ratio}`, so that a stage has none; "
        f"expected at least {enough} steps, or a larger `update_ratio`"
    ]


def short_run(config: DpsConfig, steps: int, per_epoch: int | None) -> list[str]:
    """Reasons for `check_steps`."""
    if config.ratio_of == "epoch":
        return [] if per_epoch is None else empty_stage(config.update_ratio, per_epoch, "an epoch")
    return empty_stage(config.update_ratio, steps)
