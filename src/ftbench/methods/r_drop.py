"""R-Drop: two passes of one batch with different dropout masks should agree.

Paper: Wu et al. (2021), R-Drop: Regularized Dropout for Neural Networks. Reference code: dropreg/R-Drop @ 9dcc830.
Formula: CE1 + CE2 + alpha/2 (1/B) sum_i [KL(p1||p2) + KL(p2||p1)]; a regression: MSE1 + MSE2 + alpha mean (y1 - y2)^2.
The term is zero in a model without dropout, as decoders usually come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.methods.base import Cost, Method
from ftbench.training.consistency import disagreement
from ftbench.training.dropout import own_masks

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class RDrop(Method):
    """One more pass with dropout masks of its own; both are trained on the targets and pulled together."""

    name = "r_drop"
    summary = "two passes with different dropout agree"
    paper = "Wu et al. (2021), R-Drop: Regularized Dropout for Neural Networks"
    reference_code = "dropreg/R-Drop @ 9dcc830"
    formula = "CE1 + CE2 + alpha/2 mean_i [KL(p1_i||p2_i) + KL(p2_i||p1_i)]"
    deviations = (
        "KL is a mean over the rows (the released files sum it, so that their alpha grows with the batch size)",
        "one pass in evaluation (the released files run two there as well)",
        "the release forms multiply by micro-batch rows times accumulation, so that alpha stays that of the full batch",
    )
    cost = Cost(forward=2.0, backward=2.0, memory="the activations of two passes")
    search = {"settings.alpha": (0.1, 0.5, 1.0)}  # commonly searched; the paper's own grid was not at hand

    class Config(Strict):
        alpha: float = Field(1.0, ge=0, description="weight of the agreement; the release forms have their own")
        form: Literal["paper", "release-bert", "release-roberta"] = Field(
            "paper",
            description="release-bert: CE1 + CE2 + 0.25 summed KLs; release-roberta: 0.5 CE1 + 0.35 summed KLs",
        )

    @classmethod
    def check(cls, config: Config, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        if training.dropout == 0:
            return ["r_drop with `training.dropout: 0` compares a pass with itself; give it dropout"]
        return []

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        assert context.forward is not None
        assert context.task_loss is not None
        with own_masks(context, self.name):
            other = context.forward(batch)
        apart = disagreement(logits, other, context.kind).mean()
        rows = len(batch) * context.training.accumulation
        if self.config.form == "release-roberta":
            # the cross-entropy of the second pass is computed there and never added
            first: torch.Tensor = context.task_loss(logits, batch)
            return loss - 0.5 * first + 0.35 * rows * apart
        weight: float = self.config.alpha * (1.0 if context.kind == "regression" else 0.5)
        if self.config.form == "release-bert":
            weight = 0.25 * rows
        second: torch.Tensor = context.task_loss(other, batch)
        return loss + second + weight * apart
