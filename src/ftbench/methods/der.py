"""DER: rehearsed rows carry the logits that the model gave them before fine-tuning, and are held to those.

Paper: Buzzega et al. (2020), Dark Experience for General Continual Learning. Reference code: aimagelab/mammoth (not
followed here). Formula: loss_R = beta ||z - z0||^2 / C + alpha CE(z, y), or beta KL(p0 || p) in place of the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.methods.base import Cost, PriorFacts
from ftbench.methods.rehearsal import Rehearsal
from ftbench.training.rehearsal.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ftbench.config.study import Training
    from ftbench.training.batches import Batch


class Der(Rehearsal):
    """Rehearsal with the former logits as targets."""

    name = "der"
    summary = "rehearsed rows are held to the logits that they had before (DER; with alpha, DER++)"
    paper = "Buzzega et al. (2020), Dark Experience for General Continual Learning"
    reference_code = "aimagelab/mammoth, not followed"
    formula = "loss_R = beta mean_c (z_c - z0_c)^2 + alpha CE(z, y), or with beta KL(p0 || p)"
    deviations = (
        "the pool is the prior task's, with logits of the model before fine-tuning; the paper keeps a small buffer of"
        " the stream with logits of the time of storing",
        "rows come from any sampler of `rehearsal`; random is the default",
    )
    cost = Cost(forward=1.125, backward=1.125, memory="the pool's text and logits")
    search: ClassVar[dict[str, tuple[Any, ...]]] = {}

    class Config(Settings):
        sampler: Literal[
            "none", "random", "random_correct", "prior_loss", "prior_loss_max", "max_loss", "mir", "importance",
            "mix_cd", "mix_cd_oracle",
        ] = Field("random", description="how rows are chosen")  # fmt: skip
        target: Literal["mse", "kl"] = Field("mse", description="distance between former and present logits")
        beta: float = Field(0.5, ge=0, description="weight of that distance")
        alpha: float = Field(0.0, ge=0, description="weight of the labels' loss beside it (DER++)")

    @classmethod
    def check_prior(cls, config: Any, prior: PriorFacts, training: Training) -> list[str]:
        found = super().check_prior(config, prior, training)
        if prior.kind == "text":
            found.append(
                "a prior set of plain text, of whose rows no logits are kept; expected a labelled one. "
                "`rehearsal` takes text"
            )
        return found

    def row_losses(self, logits: torch.Tensor, batch: Batch, rows: NDArray[np.int64]) -> torch.Tensor:
        import torch
        from torch.nn import functional

        stored = self.scoring.prior.logits
        if stored is None:
            raise FtbenchError(
                "der: found no former logits of the prior rows; expected a labelled prior set. Of plain text none are "
                "kept: use `rehearsal`."
            )
        former = torch.from_numpy(stored[self.scoring.places[rows]]).to(logits.device)
        if self.config.target == "mse":
            distance = (logits - former).square().mean(dim=1)
        else:
            shares = former.softmax(dim=1)
            distance = functional.kl_div(logits.log_softmax(dim=1), shares, reduction="none").sum(dim=1)
        found: torch.Tensor = self.config.beta * distance
        if self.config.alpha:
            found = found + self.config.alpha * super().row_losses(logits, batch, rows)
        return found
