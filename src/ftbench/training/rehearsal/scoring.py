"""The eligible rows of a pool as samplers see them, and the forward passes that samplers may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError, nearest
from ftbench.data.bins import Partition, Scheme, partition
from ftbench.training.batches import Batch
from ftbench.training.inference import length_batches
from ftbench.training.layers import is_encoder
from ftbench.training.prior_task import PriorModel, PriorTask
from ftbench.training.rehearsal.samplers import Scorer

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ftbench.training.method import Context


@dataclass(frozen=True)
class Scoring:
    """The eligible rows: `places` in the pool, their prior losses, prior correctness and bins."""

    prior: PriorTask
    places: NDArray[np.int64]
    losses: NDArray[np.float64]
    correct: NDArray[np.bool_]
    bins: Partition

    @classmethod
    def of(
        cls, prior: PriorTask, correct_only: bool, scheme: Scheme, aux: str, bins: int | None, smallest: int
    ) -> Scoring:
        """All rows of the pool, or those that the model got right before fine-tuning; none left is an error."""
        import numpy as np

        if not np.isfinite(prior.losses).all():
            raise FtbenchError("the rehearsal pool: found losses that are not numbers; make the prior samples again")
        places = np.flatnonzero(prior.correct) if correct_only else np.arange(len(prior))
        if len(places) == 0:
            raise FtbenchError(
                f"the rehearsal pool: found {len(prior)} rows, all wrong under the model before fine-tuning, so that "
                "none can be damaged. Train the prior task longer (`prior.training`), or set `pool: all`."
            )
        values: list[str] | None = None
        if scheme in ("aux", "loss_x_aux"):
            if aux not in prior.aux:
                raise FtbenchError(f"settings `aux`: found `{aux}`, which the pool does not have. "
                                   f"{nearest(aux, prior.aux)}")  # fmt: skip
            values = [prior.aux[aux][row] for row in places]
        clusters = None if prior.clusters is None else prior.clusters[places]
        divided = partition(scheme, prior.losses[places], values, clusters, bins, smallest)
        return cls(prior, places, prior.losses[places], prior.correct[places], divided)

    def require(self, rows: int) -> None:
        """Refuse a pool with fewer eligible rows than a step rehearses."""
        if len(self.places) < rows:
            raise FtbenchError(
                f"the rehearsal pool: found {len(self.places)} rows that may be drawn; a step asks for {rows}. "
                "Lower `ratio`, or take a larger split under `prior.pool`."
            )

    def batch(self, rows: NDArray[np.int64], device: torch.device) -> Batch:
        return self.prior.batch(self.places[rows], device)

    def damaged(self, rows: NDArray[np.int64], model: PriorModel, context: Context) -> NDArray[np.bool_]:
        """Which rows were right before and are wrong now, without dropout."""
        import numpy as np

        wrong = np.zeros(len(rows), dtype=bool)
        for chosen, _, found in self.evaluated(rows, model, context):
            wrong[chosen] = found
        return wrong & self.correct[rows]

    def evaluated(
        self,
        rows: NDArray[np.int64],
        model: PriorModel,
        context: Context,
        changed: Mapping[str, torch.Tensor] | None = None,
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]]:
        """Positions in `rows`, losses, and which are wrong, batch by batch, in evaluation mode."""
        import torch

        place = next(context.model.parameters()).device
        places = self.places[rows]
        data = self.prior.encode(self.prior.pool.take(places))
        training, found = context.model.training, []
        context.model.eval()
        with torch.no_grad():
            for chosen in length_batches(data.lengths, place):
                batch = self.prior.collated(data, chosen, places, place)
                logits = model.logits(context, batch, changed)
                losses = self.prior.row_losses(logits, batch).double().cpu().numpy()
                found.append((chosen, losses, self.prior.wrong(logits, batch)))
        context.model.train(training)
        return found


def prior_scorer(
    scoring: Scoring, model: PriorModel, context: Context, loss: torch.Tensor | None, virtual_length: float
) -> Scorer:
    """The forward passes for one step; `loss` is that of the new rows, with its graph, for virtual steps."""
    import numpy as np

    def losses(rows: NDArray[np.int64], changed: Mapping[str, torch.Tensor] | None = None) -> NDArray[np.float64]:
        values = np.zeros(len(rows))
        for chosen, found, _ in scoring.evaluated(rows, model, context, changed):
            values[chosen] = found
        return values

    def increase(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        assert loss is not None
        return losses(rows, virtual_step(context, loss, virtual_length)) - losses(rows)

    return Scorer(losses, increase, lambda rows: scoring.damaged(rows, model, context))


def virtual_step(context: Context, loss: torch.Tensor, length: float) -> dict[str, torch.Tensor]:
    """The encoder's weights after a step of a fixed length down the gradient of `loss`, by name."""
    import torch

    named = [(name, p) for name, p in context.model.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True, allow_unused=True)
    moved = [
        (name, p, gradient)
        for (name, p), gradient in zip(named, gradients, strict=True)
        if gradient is not None and is_encoder(name, context.model)
    ]
    if not moved:
        return {}
    norm = torch.stack([gradient.norm() for _, _, gradient in moved]).norm().clamp_min(1e-12)
    return {name: (p - length * gradient / norm).detach() for name, p, gradient in moved}
