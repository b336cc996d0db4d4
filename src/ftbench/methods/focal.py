"""Focal loss: cross-entropy that counts examples the less, the surer the model is of their label.

Paper: Lin et al. (2017), Focal Loss for Dense Object Detection. Reference code: lifan-yuan/OOD_NLP @ 974d49e.
Formula: mean_i w_y (1 - p_y)^gamma (-log p_y); the mean divides by the number of examples, also with class weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class Focal(Method):
    """Takes the place of the cross-entropy. Its value is not comparable with that of other methods."""

    name = "focal"
    summary = "cross-entropy weighted down where the model is sure of the label"
    paper = "Lin et al. (2017), Focal Loss for Dense Object Detection"
    reference_code = "lifan-yuan/OOD_NLP @ 974d49e"
    formula = "mean_i w_y (1 - p_y)^gamma (-log p_y)"
    deviations = ("1 - p_y is computed from its logarithm, so that neither factor underflows for sure predictions",)
    cost = Cost(forward=1.0, backward=1.0)
    search = {"settings.gamma": (1.0, 2.0, 10.0)}
    owns_criterion = True

    class Config(Strict):
        gamma: float = Field(2.0, ge=0, description="exponent of 1 - p; 0 is plain cross-entropy")
        class_weights: tuple[float, ...] | None = Field(
            None, description="one factor for each label, in the order of the task's labels; null: 1"
        )

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = []
        if kind == "regression":
            reasons.append("`focal` on a regression; expected a classification: scores have no probability")
        if config.class_weights is not None and min(config.class_weights, default=0) <= 0:
            reasons.append(
                f"`class_weights` {list(config.class_weights)}; expected positive numbers, one for each label"
            )
        return reasons

    def criterion(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        import torch

        assert batch.targets is not None
        logs = torch.log_softmax(logits, dim=-1)
        own = logs.gather(1, batch.targets[:, None])[:, 0]
        # 1 - p_y is the sum of the other labels' probabilities; a sure prediction keeps its digits that way
        others = logs.scatter(1, batch.targets[:, None], -torch.inf).logsumexp(dim=-1)
        losses = -own * (self.config.gamma * others).exp()
        if self.config.class_weights is not None:
            weights = torch.tensor(self.config.class_weights, device=logits.device)
            if len(weights) != logits.shape[1]:
                raise FtbenchError(
                    f"key `class_weights` of `focal`: found {len(weights)} numbers; expected one for each of the "
                    f"{logits.shape[1]} labels"
                )
            losses = losses * weights[batch.targets]
        mean: torch.Tensor = losses.mean()
        return mean
