"""The prior task as a run sees it: the rehearsal pool with its statistics, and the prior head on the present encoder.

Stage `finetune` fills a `PriorTask` for runs whose methods ask for one. Rows are tokenised when they are drawn,
with the length that the statistics were computed with, so that a pool of any size costs its text and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.training.batches import Batch, collate
from ftbench.training.examples import Encoded, Examples
from ftbench.training.layers import is_encoder
from ftbench.training.token_statistics import Question, word_losses

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ftbench.training.method import Context


@dataclass(frozen=True)
class PriorTask:
    """Rows of the pool (n of them) and what the model knew of each; all arrays are in the pool's order."""

    kind: str  # classification, regression, or the objective of a language model
    pool: Examples
    encode: Callable[[Examples], Encoded]
    losses: NDArray[np.float64]  # (n,)
    correct: NDArray[np.bool_]  # (n,)
    weights: Mapping[str, torch.Tensor]  # of the model before fine-tuning, its head included
    shared: bool = False  # the runs train the prior task's own head
    same_labels: bool = False  # the task's labels are the prior's, in the same order
    width: float = 0.0  # of a regression: how far off a prediction may be and count as right
    logits: NDArray[np.float32] | None = None  # (n, labels)
    clusters: NDArray[np.int64] | None = None  # (n,)
    aux: Mapping[str, list[str]] = field(default_factory=dict)  # name to n values
    question: Question | None = None  # of a pool of plain text

    def __len__(self) -> int:
        return len(self.pool)

    def batch(self, rows: NDArray[np.int64], device: torch.device | str) -> Batch:
        """The given rows as one batch."""
        import numpy as np

        return self.collated(self.encode(self.pool.take(rows)), np.arange(len(rows)), rows, device)

    def collated(
        self, data: Encoded, chosen: NDArray[np.int64], rows: NDArray[np.int64], device: torch.device | str
    ) -> Batch:
        """A batch of encoded rows; `rows` are the places of all of `data` in the pool. Text is asked for its words."""
        batch = collate(data, chosen, device)
        return self.question.ask(batch, [self.pool.uids[row] for row in rows[chosen]]) if self.question else batch

    def row_losses(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross-entropy or squared error of each row (rows,), from fp32 logits (rows, labels); of text the mean
        loss of its supervised words, from logits (rows, tokens, words)."""
        from torch.nn import functional

        assert batch.targets is not None
        if self.question:
            sums, counts, _ = word_losses(logits, batch.targets)
            return sums / counts.clamp_min(1)
        if self.kind == "regression":
            return (logits.squeeze(-1) - batch.targets.float()).square()
        return functional.cross_entropy(logits, batch.targets, reduction="none")

    def wrong(self, logits: torch.Tensor, batch: Batch) -> NDArray[np.bool_]:
        """Which rows are judged wrong, by the rule of the statistics (rows,)."""
        import numpy as np

        assert batch.targets is not None
        if self.question:
            _, counts, hits = word_losses(logits.detach(), batch.targets)
            off = ~self.question.right(hits, counts)
        elif self.kind == "regression":
            off = (logits.detach().squeeze(-1) - batch.targets.float()).abs() > self.width
        else:
            off = logits.detach().argmax(dim=1) != batch.targets
        return np.asarray(off.cpu().numpy(), dtype=bool)


class PriorModel:
    """The present encoder under the head of the prior task: frozen, or shared with the task and trained.

    Of a prior text the head is that of the base language model. It is frozen too, but for word vectors that the model
    ties to its input embeddings: those are the encoder's.
    """

    def __init__(self, context: Context) -> None:
        self.prior = needed(context)
        model = context.model
        place = next(model.parameters()).device
        self.head: dict[str, torch.Tensor] = {}
        self.language: torch.nn.Module | None = None
        if self.prior.question:
            self.language = _language_model(context, self.prior.question)
        elif not self.prior.shared:
            self.head = {
                name: tensor.to(place) for name, tensor in self.prior.weights.items() if not is_encoder(name, model)
            }

    @property
    def described(self) -> str:
        """Which head the prior rows pass through."""
        return "shared" if self.prior.shared else "frozen"

    def logits(self, context: Context, batch: Batch, changed: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """fp32 logits (rows, labels), of text (rows, tokens, words); `changed` replaces weights of the present
        encoder by name."""
        from torch.func import functional_call

        model = context.model if self.language is None else self.language
        found = functional_call(model, {**(changed or {}), **self.head}, (), dict(batch.inputs))
        logits: torch.Tensor = found.logits
        return logits.float()


def _language_model(context: Context, question: Question) -> torch.nn.Module:
    """The base model's language-model head around the encoder that the run trains; the head does not train."""
    if context.language_model is None:
        raise FtbenchError("the prior task is plain text, and this run has no language model to read it with")
    model, encoder = context.language_model(question.objective), context.model
    prefix = str(encoder.base_model_prefix)
    if str(model.base_model_prefix) != prefix:
        raise FtbenchError(
            f"{type(model).__name__} keeps its encoder under `{model.base_model_prefix}` and "
            f"{type(encoder).__name__} under `{prefix}`; expected one architecture. Take a labelled prior set."
        )
    model.to(next(encoder.parameters()).device).eval().requires_grad_(False)
    setattr(model, prefix, getattr(encoder, prefix))
    model.tie_weights()  # type: ignore[operator]
    return model


def under_head(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A model that computes with the present embeddings and blocks of `model` under pooler and classifier of `weights`,
    which may have other labels. It holds no copy: what changes in `model` changes in it."""
    import torch
    from torch.func import functional_call

    place = next(model.parameters()).device
    head = {name: tensor.to(place) for name, tensor in weights.items() if not is_encoder(name, model)}

    class UnderHead(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, **inputs: torch.Tensor) -> object:
            return functional_call(self.model, head, (), inputs)

    return UnderHead()


def needed(context: Context) -> PriorTask:
    """The context's prior task, or an `FtbenchError` for a run without one."""
    if context.prior is None:
        raise FtbenchError("found no prior task; expected `prior` in the study, with a pool that can be rehearsed")
    return context.prior
