"""Label smoothing: cross-entropy with a share of the target's mass spread over all labels.

Paper: Szegedy et al. (2016), Rethinking the Inception Architecture for Computer Vision.
Formula: -(1-e) log p_y - (e/C) sum_c log p_c, mean over the batch; the true label has its part of e as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class LabelSmoothing(Method):
    """Takes the place of the cross-entropy; evaluation and scores stay those of plain labels."""

    name = "label_smoothing"
    summary = "cross-entropy against labels with a share of their mass spread over all classes"
    paper = "Szegedy et al. (2016), Rethinking the Inception Architecture for Computer Vision"
    reference_code = "torch.nn.functional.cross_entropy(label_smoothing=e)"
    formula = "-(1-e) log p_y - (e/C) sum_c log p_c"
    cost = Cost(forward=1.0, backward=1.0)
    search = {"settings.smoothing": (0.1, 0.2)}
    owns_criterion = True

    class Config(Strict):
        smoothing: float = Field(0.1, ge=0, lt=1, description="e: mass spread over all classes")

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        if kind == "regression":
            return ["`label_smoothing` on a regression; expected a classification: scores have no labels to smooth"]
        return []

    def criterion(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        from torch.nn import functional

        assert batch.targets is not None
        return functional.cross_entropy(logits, batch.targets, label_smoothing=self.config.smoothing)
