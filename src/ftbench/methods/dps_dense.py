"""DPS-Dense: alternate full updates with updates of the entries that had the largest squared gradients.

Paper: Zhang et al. (2022), Fine-Tuning Pre-Trained Language Models Effectively by Optimizing Subnetworks
Adaptively. Reference code: ZhangHaojie077/DPS @ b8e41a8.
Formula, with u = floor(rho T) and stage c = ceil(t/u): in odd stages G <- G + g^2/1000 (overwritten at the
first step) and the full gradient is used; in even stages g <- g * [G >= K-th largest of G], K = ceil(n (1-p)).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftbench.methods.base import Cost, Method, State
from ftbench.training.dps_stages import SEARCH, DpsConfig, Stages, short_run, start_head
from ftbench.training.freezing import Frozen, second_selection
from ftbench.training.layers import linear_weights
from ftbench.training.masks import kept_entries, largest

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
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
        "dropout and the head's start stay as in plain fine-tuning; the reference switches hidden and attention "
        "dropout off in runs of less than 2,000 steps (`training.dropout: 0.0`, then for the baseline too), and its "
        "head starts from another distribution (`head_start: reference`)",
        "a run too short for stages of one step is refused (the reference divides by zero at step 2)",
        "statistics come from unscaled gradients and never from skipped steps (the reference uses loss-scaled ones, "
        "where one overflow can leave a matrix untrained)",
    )
    selects_entries = True
    cost = Cost(forward=1.0, backward=1.0, memory="4 bytes and 1 mask byte per weight of the linear layers")
    search = SEARCH

    class Config(DpsConfig):
        """`frozen: gradient` is the reference's meaning."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scores: dict[str, torch.Tensor] = {}
        self.masks: dict[str, torch.Tensor] = {}
        self.frozen = Frozen(config.frozen)
        self.stage = 0  # the stage that scores or masks belong to; survives skipped steps

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        return second_selection(cls.name, others)

    @classmethod
    def check_steps(cls, config: Any, steps: int, per_epoch: int | None) -> list[str]:
        return short_run(config, steps, per_epoch)

    def prepare_model(self, context: Context) -> None:
        """The released head start, where that is asked for."""
        start_head(self.config, context)

    def prologue(self, context: Context) -> None:
        """Refuse a run with empty stages before its first step."""
        Stages.of(self.config, context)

    def gradients_ready(self, context: Context) -> None:
        stages = Stages.of(self.config, context)
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
            self.frozen.apply(weight.parameter, mask)

    def after_step(self, context: Context) -> None:
        self.frozen.settle()

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
