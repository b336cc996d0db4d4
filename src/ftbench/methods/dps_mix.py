"""DPS-Mix: dynamic parameter selection on a mixture of the trained and the pretrained weight.

Paper: Zhang et al. (2022), as DPS-Dense. Reference code: ZhangHaojie077/DPS @ b8e41a8.
Formula: odd stages forward with W0 + m (W - W0)/(1-p), m ~ Bernoulli(1-p) per input column, S += m g^2/1000,
C += m; even stages forward with Ws + M (W - Ws)/(1-p), Ws the weight at the stage's start, M the ceil(n (1-p))
largest of S/max(C,1), times exp(-max(C,1)/u) when u >= 50. The optimiser gets mask * g, and with
`gradient_factor: exact` that over 1-p. Evaluation uses W.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.methods.base import Cost, Method, State
from ftbench.training.dps_stages import SEARCH, DpsConfig, Stages, short_run, start_head
from ftbench.training.freezing import Frozen, second_selection
from ftbench.training.layers import LinearWeight, linear_weights
from ftbench.training.masks import kept_entries, largest

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context

PENALTY_FROM = 50  # stage length from which frequently sampled columns are penalised


class DpsMix(Method):
    """Effective weights are put into the parameters for the passes of a step and taken out before clipping."""

    name = "dps_mix"
    summary = "dynamic parameter selection on a mixture with the pretrained weights"
    paper = (
        "Zhang et al. (2022), Fine-Tuning Pre-Trained Language Models Effectively by Optimizing Subnetworks Adaptively"
    )
    reference_code = "ZhangHaojie077/DPS @ b8e41a8"
    formula = "W~ = W0 + m (W - W0)/(1-p) in odd, Ws + M (W - Ws)/(1-p) in even stages; gradient mask * dL/dW~"
    deviations = (
        "one column mask per optimiser step, also under gradient accumulation and several passes",
        "dropout and the head's start stay as in plain fine-tuning; the reference switches hidden and attention "
        "dropout off (`training.dropout: 0.0`, then for the baseline too), and its head starts from another "
        "distribution (`head_start: reference`)",
        "a run too short for stages of one step is refused; statistics come from unscaled gradients",
        "the gradient lacks the factor 1/(1-p) of the derivative, as in the reference; `gradient_factor: exact` has "
        "it. Under AdamW it matters through epsilon and the clip norm alone",
    )
    selects_entries = True
    cost = Cost(forward=1.0, backward=1.0, memory="four copies of the linear layers' weights")
    search = SEARCH

    class Config(DpsConfig):
        """`frozen` is about even stages; the column masks of odd stages always act on the gradient."""

        frequency_penalty: Literal["auto", "on", "off"] = Field(
            "auto", description="scores times exp(-draws/u); auto: with stages of 50 steps or more, as in the reference"
        )
        gradient_factor: Literal["reference", "exact"] = Field(
            "reference", description="exact: with the factor 1/(1-p) of the derivative; reference: without"
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.anchors: dict[str, torch.Tensor] = {}  # W0: the weights at step 1
        self.snapshots: dict[str, torch.Tensor] = {}  # Ws: the weights at the start of the even stage
        self.scores: dict[str, torch.Tensor] = {}
        self.counts: dict[str, torch.Tensor] = {}
        self.masks: dict[str, torch.Tensor] = {}  # boolean: broadcast over rows in odd, full in even stages
        self.factors: dict[str, torch.Tensor] = {}  # the full masks as numbers, which are quicker to multiply with
        self.trained: dict[str, torch.Tensor] = {}  # the true weights while effective ones are in place
        self.frozen = Frozen(config.frozen)
        self.stage = 0

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = second_selection(cls.name, others)
        reasons += [
            f"`{cls.name}` with `{other.name}`, which puts effective weights in place as well; expected one of them"
            for other in others
            if other.begin_passes is not Method.begin_passes and not other.selects_entries
        ]
        return reasons

    @classmethod
    def check_steps(cls, config: Any, steps: int, per_epoch: int | None) -> list[str]:
        return short_run(config, steps, per_epoch)

    def prepare_model(self, context: Context) -> None:
        """The released head start, where that is asked for."""
        start_head(self.config, context)

    def prologue(self, context: Context) -> None:
        """Refuse a run with empty stages before its first step."""
        Stages.of(self.config, context)

    def column_mask(self, weight: LinearWeight, context: Context) -> torch.Tensor:
        """One draw per input column, true with probability 1-p, shaped to broadcast over the weight."""
        import torch

        shape = [1, 1]
        shape[weight.input_dimension] = weight.parameter.shape[weight.input_dimension]
        generator = context.generator(self.name, weight.name)
        draws: torch.Tensor = torch.rand(shape, generator=generator) < 1 - self.config.drop_share
        return draws.to(weight.parameter.device)

    def begin_passes(self, context: Context) -> None:
        stages = Stages.of(self.config, context)
        collecting = stages.collects(context.step)
        beginning = stages.index(context.step) != self.stage
        self.stage = stages.index(context.step)
        for weight in linear_weights(context.model):
            if not weight.parameter.requires_grad:
                continue
            name, value = weight.name, weight.parameter.data
            if context.step == 1:
                self.anchors[name] = value.clone()
            if collecting:
                self.masks[name] = factor = self.column_mask(weight, context)
                self.factors.pop(name, None)
            else:
                if beginning:
                    self.snapshots[name] = value.clone()
                    self.masks[name] = self._selected(name, value, stages)
                if beginning or name not in self.factors:  # a resumed run has only the mask
                    self.factors[name] = self.masks[name].to(value.dtype)
                factor = self.factors[name]
            if beginning:  # the selection was the last that looked at them
                self.scores.pop(name, None)
                self.counts.pop(name, None)
            anchor = self.anchors[name] if collecting else self.snapshots[name]
            self.trained[name] = value
            # anchor + factor (value - anchor) / (1-p) in one new tensor: four of them cost more than the arithmetic
            mixed = (value - anchor).mul_(factor).div_(1 - self.config.drop_share).add_(anchor)
            weight.parameter.data = mixed

    def _selected(self, name: str, value: torch.Tensor, stages: Stages) -> torch.Tensor:
        if name not in self.scores:  # every step of the stage overflowed: nothing was measured
            return value.new_ones(value.shape).bool()
        counts = self.counts[name].clamp(min=1)
        scores = self.scores[name] / counts
        asked = self.config.frequency_penalty
        if asked == "on" or (asked == "auto" and stages.length >= PENALTY_FROM):
            scores = scores * (-counts / stages.length).exp()
        return largest(scores, kept_entries(scores.numel(), self.config.drop_share))

    def end_passes(self, context: Context) -> None:
        for weight in linear_weights(context.model):
            if weight.name in self.trained:
                weight.parameter.data = self.trained.pop(weight.name)

    def gradients_ready(self, context: Context) -> None:
        stages = Stages.of(self.config, context)
        for weight in linear_weights(context.model):
            name, gradient = weight.name, weight.parameter.grad
            if gradient is None or name not in self.masks:
                continue
            mask, collecting = self.masks[name], stages.collects(context.step)
            if collecting:
                gradient.mul_(mask)
                squared = gradient.float().square().div_(1000)
                seen = mask.float()  # one row, as the draw is one per input column
                if name in self.scores:
                    self.scores[name] += squared
                    self.counts[name] += seen
                else:
                    self.scores[name], self.counts[name] = squared, seen
            if self.config.gradient_factor == "exact":
                gradient.div_(1 - self.config.drop_share)
            if not collecting:
                self.frozen.apply(weight.parameter, mask, self.factors[name])

    def after_step(self, context: Context) -> None:
        self.frozen.settle()

    def state_dict(self) -> State:
        parts = {
            "anchors": self.anchors,
            "snapshots": self.snapshots,
            "scores": self.scores,
            "counts": self.counts,
        }
        parts["masks"] = self.masks
        tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
        return {"stage": self.stage, **tensors}

    def load_state_dict(self, state: State) -> None:
        self.stage = int(state["stage"])
        for part in ("anchors", "snapshots", "scores", "counts", "masks"):
            prefix = f"{part}/"
            setattr(
                self,
                part,
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)},
            )
