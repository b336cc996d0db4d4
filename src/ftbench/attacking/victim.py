"""The attacked model as the engine sees it: texts become inputs, inputs become probabilities.

Two texts that the tokenizer turns into the same tokens are one input and cost one query. Probabilities are computed in
double precision from single-precision logits, whatever the training's precision: attacks decide by small differences.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch

Pair = tuple[str, str | None]


class Victim(ABC):
    """What can be asked for probabilities. `unknown` is the text of a word that the model does not know."""

    unknown: str

    @abstractmethod
    def inputs(self, pairs: Sequence[Pair]) -> list[Hashable]:
        """The model's input for each example; equal ones get equal answers."""

    @abstractmethod
    def probabilities(self, inputs: Sequence[Any]) -> np.ndarray:
        """Probabilities (rows, labels), float64, in the inputs' order; not a number where the model gives none."""


class ModelInput(NamedTuple):
    """Token ids and segment ids of one row as bytes of int64, which can be compared."""

    ids: bytes
    segments: bytes | None


class ModelVictim(Victim):
    """A classifier with its tokenizer. A row costs the same whichever rows it is batched with; answers agree between
    batches up to the rounding of single precision."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, max_length: int, place: torch.device) -> None:
        self.model, self.tokenizer, self.max_length, self.place = model.eval(), tokenizer, max_length, place
        self.unknown = str(tokenizer.unk_token or tokenizer.mask_token or "[UNK]")
        self.rows = 0  # passed through the model so far

    def inputs(self, pairs: Sequence[Pair]) -> list[Hashable]:
        from ftbench.training.examples import Examples, encode

        first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        paired = None if any(text is None for text in second) else [str(text) for text in second]
        data = encode(self.tokenizer, Examples([""] * len(pairs), first, paired, None), self.max_length)
        if data.segments is None:
            return [ModelInput(ids.tobytes(), None) for ids in data.ids]
        return [ModelInput(ids.tobytes(), own.tobytes()) for ids, own in zip(data.ids, data.segments, strict=True)]

    def probabilities(self, inputs: Sequence[ModelInput]) -> np.ndarray:
        import numpy as np

        from ftbench.data.labels import softmax
        from ftbench.training.examples import Encoded
        from ftbench.training.inference import logits

        # a tokenizer without special tokens leaves nothing of an empty text, and the model has no answer to nothing
        asked = [row for row, given in enumerate(inputs) if given.ids]
        found = np.full((len(inputs), int(self.model.config.num_labels)), np.nan)  # type: ignore[union-attr,arg-type]
        if not asked:
            return found
        ids = [np.frombuffer(inputs[row].ids, dtype=np.int64) for row in asked]
        kinds = [inputs[row].segments for row in asked]
        segments = [np.frombuffer(kind, dtype=np.int64) for kind in kinds if kind is not None]
        data = Encoded(
            ids,
            segments or None,
            None,
            np.array([len(row) for row in ids], dtype=np.int64),
            self.tokenizer.pad_token_id or 0,
            self.max_length,
        )
        self.rows += len(asked)
        found[asked] = softmax(logits(self.model, data, self.place))
        return found
