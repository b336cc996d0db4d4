"""DPS-Mix: dynamic parameter selection on a mixture of the trained and the pretrained weight.

Paper: Zhang et al. (2022), as DPS-Dense. Reference code: ZhangHaojie077/DPS @ b8e41a8.
Formula: odd stages forward with W0 + m (W - W0)/(1-p), m ~ Bernoulli(1-p) per input column, S += m g^2/1000,
C += m; even stages forward with Ws + M (W - Ws)/(1-p), Ws the weight at the stage's start, M the ceil(n (1-p))
largest of S/max(C,1), times exp(-max(C,1)/u) when u >= 50. The optimiser gets mask * g. Evaluation uses W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State
from ftbench.training.dps_stages import Stages
from ftbench.training.layers import LinearWeight, linear_weights
from ftbench.training.masks import kept_entries, largest

if TYPE_CHECKING:
    import torch

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
        "dropout and the head's initialisation stay as in plain fine-tuning (the reference switches dropout off)",
        "a stage has at least one step; statistics come from unscaled gradients",
    )
    selects_entries = True
    cost = Cost(forward=1.0, backward=1.0, memory="four copies of the linear layers' weights")

    class Config(Strict):
        drop_share: float = Field(0.3, ge=0, lt=1, description="p: share left at the anchor weight")
        update_ratio: float = Field(0.05, gt=0, le=0.5, description="rho: length of a stage as a share of all steps")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.anchors: dict[str, torch.Tensor] = {}  # W0: the weights at step 1
        self.snapshots: dict[str, torch.Tensor] = {}  # Ws: the weights at the start of the even stage
        self.scores: dict[str, torch.Tensor] = {}
        self.counts: dict[str, torch.Tensor] = {}
        self.masks: dict[str, torch.Tensor] = {}  # boolean: broadcast over rows in odd, full in even stages
        self.trained: dict[str, torch.Tensor] = {}  # the true weights while effective ones are in place
        self.stage = 0

    def column_mask(self, weight: LinearWeight, context: Context) -> torch.Tensor:
        """One draw per input column, true with probability 1-p, shaped to broadcast over the weight."""
        import torch

        shape = [1, 1]
        shape[weight.input_dimension] = weight.parameter.shape[weight.input_dimension]
        generator = context.generator(self.name, weight.name)
        draws: torch.Tensor = torch.rand(shape, generator=generator) < 1 - self.config.drop_share
        return draws.to(weight.parameter.device)

    def begin_passes(self, context: Context) -> None:
        stages = Stages.of(context.total_steps, self.config.update_ratio)
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
                self.masks[name] = self.column_mask(weight, context)
                if beginning:
                    self.scores.pop(name, None)
                    self.counts.pop(name, None)
            elif beginning:
                self.snapshots[name] = value.clone()
                self.masks[name] = self._selected(name, value, stages)
            anchor = self.anchors[name] if collecting else self.snapshots[name]
            self.trained[name] = value
            weight.parameter.data = anchor + self.masks[name] * (value - anchor) / (1 - self.config.drop_share)

    def _selected(self, name: str, value: torch.Tensor, stages: Stages) -> torch.Tensor:
        if name not in self.scores:  # every step of the stage overflowed: nothing was measured
            return value.new_ones(value.shape).bool()
        counts = self.counts[name].clamp(min=1)
        scores = self.scores[name] / counts
        if stages.length >= PENALTY_FROM:
            scores = scores * (-counts / stages.length).exp()
        return largest(scores, kept_entries(scores.numel(), self.config.drop_share))

    def end_passes(self, context: Context) -> None:
        for weight in linear_weights(context.model):
            if weight.name in self.trained:
                weight.parameter.data = self.trained.pop(weight.name)

    def gradients_ready(self, context: Context) -> None:
        stages = Stages.of(context.total_steps, self.config.update_ratio)
        for weight in linear_weights(context.model):
            name, gradient = weight.name, weight.parameter.grad
            if gradient is None or name not in self.masks:
                continue
            mask = self.masks[name]
            if stages.collects(context.step):
                squared = mask * gradient.float().square() / 1000
                seen = mask.float()  # one row, as the draw is one per input column
                if name in self.scores:
                    self.scores[name] += squared
                    self.counts[name] += seen
                else:
                    self.scores[name], self.counts[name] = squared, seen
            gradient.mul_(mask)

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
