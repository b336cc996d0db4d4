"""What a language model knows of plain text: loss and hits over the supervised words of each row.

A masked model is asked for a fixed share of a row's tokens, chosen by the row's id and nothing else; a causal
model for every token behind the first. The stages `pretrain_samples` and `predict` count here, and runs that rehearse
text ask the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from ftbench.training.batches import Batch, collate
from ftbench.training.examples import Encoded
from ftbench.training.inference import autocast, length_batches
from ftbench.training.seeds import numpy_generator

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Objective = Literal["masked", "causal"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
MASK_SHARE = 0.15
IGNORED = -100  # target of a token that is not asked for


def hidden_positions(ids: np.ndarray, special: set[int], uid: str, share: float = MASK_SHARE) -> NDArray[np.int64]:
    """The positions of a row (tokens,) that a masked model is asked for: a share of its words, at least one."""
    import numpy as np

    words = np.flatnonzero(~np.isin(ids, list(special)))
    if len(words) == 0:
        return words
    count = max(1, round(share * len(words)))
    return np.sort(numpy_generator(0, "hidden", uid).choice(words, count, replace=False))


@dataclass(frozen=True)
class Question:
    """What a language model is asked about rows of text; the same words of a row at any time and in any batch."""

    objective: Objective
    tokenizer: Any
    needed: float = 1.0  # share of a row's supervised words that must be right for the row to be

    def ask(self, batch: Batch, uids: Sequence[str]) -> Batch:
        """The batch with hidden words where the model is masked, and targets (rows, tokens), `IGNORED` where none."""
        import torch

        ids = batch.inputs["input_ids"]
        targets = torch.full_like(ids, IGNORED)
        inputs = dict(batch.inputs)
        if self.objective == "masked":
            special, lengths = set(self.tokenizer.all_special_ids), batch.inputs["attention_mask"].sum(dim=1).tolist()
            plain = ids.cpu().numpy()
            for row, (uid, length) in enumerate(zip(uids, lengths, strict=True)):
                hidden = torch.from_numpy(hidden_positions(plain[row, :length], special, uid)).to(ids.device)
                targets[row, hidden] = ids[row, hidden]
            inputs["input_ids"] = torch.where(targets == IGNORED, ids, self.tokenizer.mask_token_id)
        else:
            targets[:, :-1] = torch.where(batch.inputs["attention_mask"][:, 1:] == 1, ids[:, 1:], IGNORED)
        return Batch(inputs, targets, batch.rows)

    def right(self, hits: Any, counts: Any) -> Any:
        """Whether rows with `hits` right words out of `counts` are right; a row without a word is."""
        return hits >= self.needed * counts - 1e-9


def word_losses(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Summed loss, number of supervised words, and right ones among them, of each row (rows,).

    logits: (rows, tokens, words); targets: (rows, tokens), `IGNORED` where no word is asked for.
    """
    import torch
    from torch.nn import functional

    asked = targets != IGNORED
    chosen, owner = logits[asked].float(), asked.nonzero()[:, 0]
    losses = functional.cross_entropy(chosen, targets[asked], reduction="none")
    hits = (chosen.argmax(-1) == targets[asked]).float()

    def summed(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(targets), device=values.device, dtype=values.dtype).index_add(0, owner, values)

    return summed(losses), asked.sum(dim=1), summed(hits)


def word_counts(
    model: torch.nn.Module,
    question: Question,
    data: Encoded,
    uids: Sequence[str],
    place: torch.device,
    precision: str = "fp32",
) -> NDArray[np.float64]:
    """Summed loss, supervised words and right ones of each row, (rows, 3) in the rows' order, in evaluation mode."""
    import numpy as np
    import torch

    found = np.zeros((len(data), 3))
    model.eval()
    with torch.inference_mode():
        for rows in length_batches(data.lengths, place):
            batch = question.ask(collate(data, rows, place), [uids[row] for row in rows])
            with autocast(place, precision):
                logits = model(**batch.inputs).logits
            assert batch.targets is not None
            for column, values in enumerate(word_losses(logits, batch.targets)):
                found[rows, column] = values.double().cpu().numpy()
    return found


def token_statistics(
    model: torch.nn.Module,
    question: Question,
    data: Encoded,
    uids: Sequence[str],
    place: torch.device,
    precision: str = "fp32",
) -> dict[str, NDArray[Any]]:
    """Columns of `pretrain_samples` of rows of text, in the rows' order: mean and summed loss, number of supervised
    words, and whether enough of them are right. A row without a word has loss 0 and counts as right."""
    import numpy as np

    sums, counts, hits = word_counts(model, question, data, uids, place, precision).T
    return {
        "prior_loss": sums / np.maximum(counts, 1),
        "lm_loss_sum": sums,
        "lm_tokens": counts.astype(np.int64),
        "prior_correct": question.right(hits, counts),
    }
