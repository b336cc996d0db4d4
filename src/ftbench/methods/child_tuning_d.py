"""Child-Tuning-D: before training, fix the entries with the largest empirical Fisher and train only them.

Paper: Xu et al. (2021), Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning.
Reference code: alibaba/AliceMind @ a6d5afe. The selection runs over all tensors of all blocks together; embeddings,
pooler and head are trained in full. Masks act after clipping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State
from ftbench.training.freezing import Frozen, second_selection
from ftbench.training.layers import layer_groups
from ftbench.training.masks import percentile
from ftbench.training.squared_gradients import mean_squared_gradients

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class ChildTuningD(Method):
    """One pass over the training rows before the first step gives masks that stay for the run."""

    name = "child_tuning_d"
    summary = "only the entries with the largest Fisher information are trained (task-driven)"
    paper = "Xu et al. (2021), Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning"
    reference_code = "alibaba/AliceMind @ a6d5afe"
    formula = "F = mean over batches of clip(g)^2; M = [F >= its (1-p_D) percentile over all blocks]; g <- clip(g) * M"
    deviations = (
        "torch's AdamW, with decay before the move (the reference: after it)",
        "gradients of the pass have the precision of the run (the reference: always fp32); fp16 is refused, as small "
        "gradients vanish in it without loss scaling",
        "masks are part of a checkpoint (the reference computes others after a resume)",
    )
    cost = Cost(
        forward=1.0, backward=1.0, memory="1 mask byte per weight of the blocks; 8 bytes before step 1; one more epoch"
    )
    search = {"settings.keep_share": (0.1, 0.2, 0.3)}  # commonly searched
    selects_entries = True

    class Config(Strict):
        keep_share: float = Field(0.3, gt=0, le=1, description="p_D: share of the blocks' entries that is trained")
        frozen: Literal["gradient", "hard"] = Field(
            "gradient",
            description="gradient: momentum and decay still move unselected entries (reference); hard: they stay",
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.masks: dict[str, torch.Tensor] = {}
        self.frozen = Frozen(config.frozen)

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = second_selection(cls.name, others)
        if training.precision == "fp16":
            reasons.append(
                "`training.precision: fp16`, in which the squared gradients of the prologue vanish; "
                "expected `auto`, `bf16` or `fp32`"
            )
        return reasons

    def prologue(self, context: Context) -> None:
        """Rank the entries of all blocks; frozen tensors take no part."""
        import torch

        inside = {name for block in layer_groups(context.model).blocks for name in block}
        selected = {
            name: parameter
            for name, parameter in context.model.named_parameters()
            if name in inside and parameter.requires_grad
        }
        if not selected or self.config.keep_share == 1:
            return
        fisher = mean_squared_gradients(context, selected, context.training.clip_norm, self.name)
        pooled = torch.cat([scores.flatten() for scores in fisher.values()])
        threshold = percentile(pooled, 1 - self.config.keep_share)
        self.masks = {name: scores >= threshold for name, scores in fisher.items()}

    def gradients_clipped(self, context: Context) -> None:
        for name, parameter in context.model.named_parameters():
            if name in self.masks and parameter.grad is not None:
                self.frozen.apply(parameter, self.masks[name])

    def after_step(self, context: Context) -> None:
        self.frozen.settle()

    def state_dict(self) -> State:
        return dict(self.masks)

    def load_state_dict(self, state: State) -> None:
        self.masks = dict(state)
