"""DPS-Dense: alternate full updates with updates of the entries that had the largest squared gradients.

Paper: Zhang et al. (2022), Fine-Tuning Pre-Trained Language Models Effectively by Optimizing Subnetworks
Adaptively. Reference code: ZhangHaojie077/DPS @ b8e41a8.
Formula, with u = floor(rho T) and stage c = ceil(t/u): in odd stages G <- G + g^2/1000 (overwritten at the
first step) and the full gradient is used; in even stages g <- g * [G >= K-th largest of G], K = ceil(n (1-p)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State
from ftbench.training.dps_stages import Stages
from ftbench.training.layers import linear_weights
from ftbench.training.masks import kept_entries, largest

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context


class DpsDense(Method):
    """Dynamic parameter selection on the gradients of every linear layer's weight."""

    name = "dps_dense"
    summary = "dynamic parameter selection: stages of full and of selected updates"
    paper = (
        "Zhang et al. (2022), Fine-Tuning Pre-Trained Language Models Effectively by Optimizing Subnetworks Adaptively"
    )
    reference_code = "ZhangHaojie077/DPS @ b8e41a8"
    formula = "odd stage: G += g^2/1000; even stage: g <- g * [G >= K-th largest], K = ceil(n (1-p))"
    deviations = (
        "steps are optimiser steps, also under gradient accumulation (the reference counts micro-batches)",
        "dropout and the head's initialisation stay as in plain fine-tuning (the reference switches dropout off)",
        "a stage has at least one step (the reference divides by zero on very short runs)",
        "statistics come from unscaled gradients (the reference uses loss-scaled ones)",
    )
    selects_entries = True
    cost = Cost(forward=1.0, backward=1.0, memory="4 bytes and 1 mask byte per weight of the linear layers")

    class Config(Strict):
        drop_share: float = Field(0.3, ge=0, lt=1, description="p: share of each matrix left out in even stages")
        update_ratio: float = Field(0.05, gt=0, le=0.5, description="rho: length of a stage as a share of all steps")
        frozen: Literal["gradient", "hard"] = Field(
            "gradient", description="gradient: momentum and decay still move dropped entries; hard: they stay"
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scores: dict[str, torch.Tensor] = {}
        self.masks: dict[str, torch.Tensor] = {}
        self.held: dict[str, torch.Tensor] = {}
        self.stage = 0  # the stage that scores or masks belong to; survives skipped steps

    def gradients_ready(self, context: Context) -> None:
        import torch

        stages = Stages.of(context.total_steps, self.config.update_ratio)
        beginning = stages.index(context.step) != self.stage
        self.stage = stages.index(context.step)
        for weight in linear_weights(context.model):
            gradient = weight.parameter.grad
            if gradient is None:
                continue
            if stages.collects(context.step):
                squared = gradient.float().square() / 1000
                if beginning:
                    self.scores[weight.name] = squared
                else:
                    self.scores[weight.name] += squared
                continue
            if beginning and weight.name in self.scores:
                scores = self.scores[weight.name]
                self.masks[weight.name] = largest(scores, kept_entries(scores.numel(), self.config.drop_share))
            mask = self.masks.get(weight.name)
            if mask is None:  # every step of the first stage overflowed: nothing was measured
                continue
            gradient.mul_(mask)
            if self.config.frozen == "hard":
                self.held[weight.name] = torch.clone(weight.parameter.detach())

    def after_step(self, context: Context) -> None:
        import torch

        if not self.held:
            return
        with torch.no_grad():
            for weight in linear_weights(context.model):
                if weight.name in self.held:
                    kept = torch.where(self.masks[weight.name], weight.parameter, self.held[weight.name])
                    weight.parameter.copy_(kept)
        self.held = {}

    def state_dict(self) -> State:
        return {
            "stage": self.stage,
            **{f"scores/{name}": tensor for name, tensor in self.scores.items()},
            **{f"masks/{name}": tensor for name, tensor in self.masks.items()},
        }

    def load_state_dict(self, state: State) -> None:
        self.stage = int(state["stage"])
        self.scores = {key.removeprefix("scores/"): value for key, value in state.items() if key.startswith("scores/")}
        self.masks = {key.removeprefix("masks/"): value for key, value in state.items() if key.startswith("masks/")}
