"""Mixout: dropout that falls back to the pretrained weight instead of to zero.

Paper: Lee et al. (2020), Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models.
Reference code: bloodwass/mixout @ 18f377d.
Formula: one draw m ~ Bernoulli(1-p) per input column of W; forward with W0 + m (W - W0)/(1-p), whose mean is W;
the gradient of W is m/(1-p) times that of the effective weight. Evaluation uses W.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.layers import LinearWeight, is_head, linear_weights

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class Mixout(Method):
    """Effective weights are put into the parameters for the passes of a step and taken out before clipping."""

    name = "mixout"
    summary = "input columns of every linear layer fall back to their pretrained value at random"
    paper = "Lee et al. (2020), Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models"
    reference_code = "bloodwass/mixout @ 18f377d"
    formula = "W~ = W0 + m (W - W0)/(1-p), m ~ Bernoulli(1-p) per input column; dL/dW = m/(1-p) dL/dW~"
    deviations = (
        "the gradient is the true one (the reference leaves out 1/(1-p); `gradient: reference` does so too)",
        "one draw per optimiser step, shared by its micro-batches and further passes (the reference: per forward)",
        "every linear layer of the pretrained part is mixed, whether or not it follows a dropout",
        "the head is not mixed, as it has no pretrained value (the released scripts mix it; `head: true` does)",
        "dropout stays as the study has it; the released recipes switch it off (`training.dropout: 0`)",
        "blocks that another method re-initialises fall back to their new start",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="two copies of the linear layers' weights")
    search = {"settings.share": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)}
    stays_near_start = True
    needs_initial = True

    class Config(Strict):
        share: float = Field(0.1, ge=0, lt=1, description="p: probability that a column has its pretrained value")
        gradient: Literal["exact", "reference"] = Field(
            "exact", description="reference: without the factor 1/(1-p) of the derivative, as in the released code"
        )
        head: bool = Field(False, description="mix the new head towards its random start as well")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.masks: dict[str, torch.Tensor] = {}  # of this step
        self.trained: dict[str, torch.Tensor] = {}  # the true weights while effective ones are in place

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = []
        for other in others:
            if other.stays_near_start:
                reasons.append(
                    f"`mixout` with `{other.name}`, which holds weights near their start as well; expected one of them"
                )
            elif other.begin_passes is not Method.begin_passes:
                reasons.append(
                    f"`mixout` with `{other.name}`, which puts effective weights in place as well; expected one of them"
                )
        return reasons

    def mixed(self, context: Context) -> Iterator[LinearWeight]:
        """The weights that are mixed."""
        for weight in linear_weights(context.model):
            if weight.parameter.requires_grad and (self.config.head or not is_head(weight.name, context.model)):
                yield weight

    def column_mask(self, weight: LinearWeight, context: Context) -> torch.Tensor:
        """One draw per input column, true with probability 1-p, shaped to broadcast over the weight."""
        import torch

        shape = [1, 1]
        shape[weight.input_dimension] = weight.parameter.shape[weight.input_dimension]
        generator = context.generator(self.name, weight.name)
        draws: torch.Tensor = torch.rand(shape, generator=generator) < 1 - self.config.share
        return draws.to(weight.parameter.device)

    def begin_passes(self, context: Context) -> None:
        for weight in self.mixed(context):
            name, value, start = weight.name, weight.parameter.data, context.initial[weight.name]
            mask = self.masks[name] = self.column_mask(weight, context)
            self.trained[name] = value
            # start + mask (value - start) / (1-p) in one new tensor: four of them cost more than the arithmetic
            weight.parameter.data = (value - start).mul_(mask).div_(1 - self.config.share).add_(start)

    def end_passes(self, context: Context) -> None:
        for weight in self.mixed(context):
            weight.parameter.data = self.trained.pop(weight.name)

    def gradients_ready(self, context: Context) -> None:
        scale = 1 / (1 - self.config.share) if self.config.gradient == "exact" else 1.0
        for weight in self.mixed(context):
            if weight.parameter.grad is not None:
                weight.parameter.grad.mul_(self.masks[weight.name] * scale)
