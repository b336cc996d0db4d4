"""L2-SP: decay towards the pretrained weights instead of towards zero.

Paper: Li et al. (2018), Explicit Inductive Bias for Transfer Learning with Convolutional Networks; the decoupled
rule is the one that later work on BERT calls pretrained weight decay.
Formula, coupled: L + alpha/2 sum_pretrained (theta - theta0)^2 + beta/2 sum_head theta^2. Decoupled: before the
Adam move, theta <- theta - eta_t alpha (theta - theta0), and the head has ordinary decay beta. The two differ
under Adam, which divides the coupled penalty's gradient by the root of its second moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.layers import is_head, without_decay

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class L2Sp(Method):
    """The anchor is `Context.initial`: the weights after every hook that re-initialises or swaps modules."""

    name = "l2_sp"
    summary = "decay towards the pretrained weights (L2-SP, pretrained weight decay)"
    paper = "Li et al. (2018), Explicit Inductive Bias for Transfer Learning with Convolutional Networks"
    reference_code = (
        "holyseven/TransferLearningClassification @ 1426356 (coupled); "
        "asappresearch/revisit-bert-finetuning @ 0aa4f4e (decoupled)"
    )
    formula = "L + alpha/2 |theta - theta0|^2 + beta/2 |head|^2, or theta <- theta - eta alpha (theta - theta0)"
    deviations = (
        "blocks that another method re-initialises are anchored to their new start",
        "in the decoupled rule the head decays towards zero (the reference means to spare it, and anchors it to its "
        "own random start; `head: anchor` does that)",
        "a hard mask (`frozen: hard`) holds an entry against the pull, a gradient mask does not",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="one copy of the weights; coupled: one more for the penalty")
    search = {"settings.pull": (0.001, 0.01, 0.1, 1.0)}
    stays_near_start = True
    needs_initial = True

    class Config(Strict):
        rule: Literal["coupled", "decoupled"] = Field(
            "coupled", description="coupled: a penalty in the loss, as in the paper; decoupled: a pull beside Adam"
        )
        pull: float = Field(0.1, ge=0, description="alpha: strength towards the start; decoupled: times the rate")
        head_decay: float = Field(0.01, ge=0, description="beta: strength of the new head's decay towards zero")
        head: Literal["decay", "anchor"] = Field("decay", description="anchor: the head is pulled to its start too")
        scope: Literal["weights", "all"] = Field(
            "weights", description="weights: not biases and normalisation layers, which then have no decay either"
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = [
            f"`l2_sp` with `{other.name}`, which holds weights near their start as well; expected one of them"
            for other in others
            if other.stays_near_start
        ]
        reasons += [
            f"`l2_sp` with `rule: coupled` and `{other.name}`, in whose passes the weights are not the trained ones; "
            "expected `rule: decoupled`"
            for other in others
            if config.rule == "coupled" and not other.stays_near_start and other.begin_passes is not Method.begin_passes
        ]
        return reasons

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        return [{**group, "weight_decay": 0.0} for group in groups]

    def targets(self, context: Context) -> Iterator[tuple[torch.Tensor, torch.Tensor | None, float]]:
        """Trained parameters with their anchor (None: zero) and the strength of their pull."""
        spared = without_decay(context.model) if self.config.scope == "weights" else set()
        for name, parameter in context.model.named_parameters():
            if not parameter.requires_grad or name in spared:
                continue
            if self.config.head == "decay" and is_head(name, context.model):
                yield parameter, None, self.config.head_decay
            else:
                yield parameter, context.initial[name], self.config.pull

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        if self.config.rule == "decoupled":
            return loss
        for parameter, anchor, strength in self.targets(context):
            distance = parameter if anchor is None else parameter - anchor
            loss = loss + strength / 2 * distance.square().sum()
        return loss

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
        self.optimizer = optimizer  # for the learning rate of each parameter
        return optimizer

    def gradients_clipped(self, context: Context) -> None:
        """The decoupled pull: behind clipping, so that it is not called in a step that is skipped."""
        import torch

        if self.config.rule == "coupled":
            return
        assert self.optimizer is not None
        rates = {id(member): group["lr"] for group in self.optimizer.param_groups for member in group["params"]}
        with torch.no_grad():
            for parameter, anchor, strength in self.targets(context):
                distance = parameter if anchor is None else parameter - anchor
                parameter.sub_(distance, alpha=rates[id(parameter)] * strength)
