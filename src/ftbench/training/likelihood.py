"""Log-likelihoods of texts under a language model: exact for causal ones, pseudo-likelihoods for masked ones.

Stage `likelihood` calls this for the pretrained model and for the one that was trained on the task's texts. A masked
model has no p(x): the pseudo-likelihood is the product over tokens of p(token | all others), by one pass a token
(Salazar et al., 2020, Masked Language Model Scoring), or by one pass in which no token is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftbench.config.errors import FtbenchError
from ftbench.training.batches import collate
from ftbench.training.examples import Encoded
from ftbench.training.inference import length_batches
from ftbench.training.models import language_model
from ftbench.training.seeds import numpy_generator

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Reading:
    """How texts are read: by which kind of model, and of a masked one by which passes over how many tokens."""

    objective: Literal["masked", "causal"]
    tokenizer: Any
    pll: Literal["exact", "onepass"] = "exact"
    tokens: int | None = None  # of a row that a masked model is asked for, at most; None: every one

    def asked(self, ids: np.ndarray, uid: str) -> NDArray[np.int64]:
        """The positions of a row (tokens,) whose log p is summed: of a causal model all behind the first; of a masked
        one its words, or the drawn `tokens` of them, which depend on the row's id and nothing else."""
        import numpy as np

        if self.objective == "causal":
            return np.arange(1, len(ids), dtype=np.int64)
        words = np.flatnonzero(~np.isin(ids, list(self.tokenizer.all_special_ids)))
        if self.tokens is None or len(words) <= self.tokens:
            return words
        return np.sort(numpy_generator(0, "asked", uid).choice(words, self.tokens, replace=False))


def opened(snapshot: Path, objective: str, tokenizer: Any) -> torch.nn.Module:
    """The snapshot with its language-model head; one that cannot give the likelihoods of its objective is refused."""
    model = language_model(snapshot, objective)
    if objective == "masked" and tokenizer.mask_token_id is None:
        raise FtbenchError(
            f"{snapshot}: found a tokenizer without a mask token; `detection.likelihood.objective: masked` needs one"
        )
    if objective == "causal" and _sees_ahead(model):
        raise FtbenchError(
            f"{snapshot}: found {type(model).__name__}, whose outputs depend on later tokens: it has no likelihood of "
            "a text. Expected a causal language model; of a masked one take `detection.likelihood.objective: masked`."
        )
    return model


def _sees_ahead(model: torch.nn.Module) -> bool:
    """Whether a later token changes what the model says before it: an encoder loaded as if it were a decoder."""
    import torch

    model.eval()
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]]) % int(model.config.vocab_size)  # type: ignore[union-attr,arg-type]
    with torch.inference_mode():
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :3]
    return not torch.allclose(found[0], found[1], atol=1e-4)


@dataclass(frozen=True)
class Likelihoods:
    """Of n rows: summed log p in nats (n,), the tokens summed over (n,), and rows passed forward for it."""

    sums: NDArray[np.float64]
    tokens: NDArray[np.int64]
    forward_rows: int


def likelihoods(
    model: torch.nn.Module, reading: Reading, data: Encoded, uids: Sequence[str], place: torch.device
) -> Likelihoods:
    """Log-likelihoods of rows in single precision, in the rows' order. A row without a token to ask for has the sum 0.

    Exact pseudo-likelihoods pass a row forward once for each token asked, with that token alone hidden.
    """
    import numpy as np
    import torch

    asked = [reading.asked(row, uid) for row, uid in zip(data.ids, uids, strict=True)]
    alone = reading.objective == "masked" and reading.pll == "exact"
    # one entry a pass: its row, and the positions that it is asked for
    rows = np.repeat(np.arange(len(data)), [len(each) if alone else int(len(each) > 0) for each in asked])
    wanted = [np.array([position]) for each in asked for position in each] if alone else [e for e in asked if len(e)]
    sums = np.zeros(len(data))
    model.eval()
    waiting = length_batches(data.lengths[rows], place)[::-1]
    with torch.inference_mode():
        while waiting:
            chosen = waiting.pop()
            try:
                found = _of_batch(model, reading, data, rows[chosen], [wanted[each] for each in chosen], place)
            except torch.OutOfMemoryError:
                if len(chosen) == 1:
                    raise
                waiting += np.array_split(chosen, 2)[::-1]
                continue
            np.add.at(sums, rows[chosen], found)
    bad = [uids[int(row)] for row in np.flatnonzero(~np.isfinite(sums))]
    if bad:
        raise FtbenchError(f"found {len(bad)} rows whose log-likelihood is no finite number, the first `{bad[0]}`")
    return Likelihoods(sums, np.array([len(each) for each in asked], dtype=np.int64), len(rows))


def _of_batch(
    model: torch.nn.Module,
    reading: Reading,
    data: Encoded,
    rows: NDArray[np.int64],
    wanted: list[NDArray[np.int64]],
    place: torch.device,
) -> NDArray[np.float64]:
    """Summed log p of the wanted positions of each pass (passes,)."""
    import numpy as np
    import torch

    batch = collate(data, rows, place)
    owner = torch.from_numpy(np.repeat(np.arange(len(rows)), [len(each) for each in wanted])).to(place)
    position = torch.from_numpy(np.concatenate(wanted)).to(place)
    ids = batch.inputs["input_ids"]
    targets = ids[owner, position]
    inputs = dict(batch.inputs)
    if reading.objective == "masked" and reading.pll == "exact":
        inputs["input_ids"] = ids.clone()
        inputs["input_ids"][owner, position] = reading.tokenizer.mask_token_id
    logits = model(**inputs).logits
    said = logits[owner, position - int(reading.objective == "causal")].float()
    each = said.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0].double()
    total = torch.zeros(len(rows), dtype=torch.float64, device=place).index_add(0, owner, each)
    return np.asarray(total.cpu().numpy())
