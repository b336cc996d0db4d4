"""What a language model knows of plain text: loss and hits over the supervised words of each row.

A masked model is asked for a fixed share of a row's tokens, chosen by the row's id and nothing else; a causal
model for every token behind the first. Stage `pretrain_samples` calls this for a part of the pool at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ftbench.training.batches import collate
from ftbench.training.examples import Encoded
from ftbench.training.inference import autocast, length_batches
from ftbench.training.seeds import numpy_generator

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

Objective = Literal["masked", "causal"]
MASK_SHARE = 0.15


def hidden_positions(ids: np.ndarray, special: set[int], uid: str, share: float = MASK_SHARE) -> NDArray[np.int64]:
    """The positions of a row (tokens,) that a masked model is asked for: a share of its words, at least one."""
    import numpy as np

    words = np.flatnonzero(~np.isin(ids, list(special)))
    if len(words) == 0:
        return words
    count = max(1, round(share * len(words)))
    return np.sort(numpy_generator(0, "hidden", uid).choice(words, count, replace=False))


def token_statistics(
    model: torch.nn.Module,
    tokenizer: Any,
    data: Encoded,
    uids: Sequence[str],
    objective: Objective,
    needed: float,
    place: torch.device,
    precision: str = "fp32",
) -> dict[str, NDArray[Any]]:
    """Columns of rows of text, in the rows' order: mean and summed loss, number of supervised words, and whether
    the share `needed` of them is right. A row without a word has loss 0 and counts as right."""
    import numpy as np
    import torch
    from torch.nn import functional

    special = set(tokenizer.all_special_ids)
    sums, counts, hits = (np.zeros(len(data)) for _ in range(3))
    model.eval()
    with torch.inference_mode():
        for rows in length_batches(data.lengths, place):
            batch = collate(data, rows, place)
            ids = batch.inputs["input_ids"]
            targets = torch.full_like(ids, -100)
            inputs = dict(batch.inputs)
            if objective == "masked":
                for position, row in enumerate(rows):
                    hidden = torch.from_numpy(hidden_positions(data.ids[row], special, uids[row])).to(place)
                    targets[position, hidden] = ids[position, hidden]
                inputs["input_ids"] = torch.where(targets == -100, ids, tokenizer.mask_token_id)
            else:
                targets[:, :-1] = torch.where(batch.inputs["attention_mask"][:, 1:] == 1, ids[:, 1:], -100)
            with autocast(place, precision):
                logits = model(**inputs).logits
            asked = targets != -100
            losses = functional.cross_entropy(logits[asked].float(), targets[asked], reduction="none")
            right = (logits[asked].argmax(-1) == targets[asked]).float()
            owner = asked.nonzero()[:, 0]
            for total, values in ((sums, losses), (hits, right), (counts, torch.ones_like(losses))):
                summed = torch.zeros(len(rows), device=place).index_add_(0, owner, values)
                total[rows] = summed.cpu().numpy()
    divisor = np.maximum(counts, 1)
    return {
        "prior_loss": sums / divisor,
        "lm_loss_sum": sums,
        "lm_tokens": counts.astype(np.int64),
        "prior_correct": hits >= needed * counts - 1e-9,
    }
