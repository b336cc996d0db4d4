"""Labelled texts as the loop sees them, and their tokenised form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Examples:
    """Rows of text with targets: label indices (int64), scores (float32), or None where nothing is known."""

    uids: list[str]
    text_a: list[str]
    text_b: list[str] | None
    targets: np.ndarray | None

    def __len__(self) -> int:
        return len(self.uids)

    def take(self, rows: np.ndarray) -> Examples:
        """The rows of the given indices, in their order."""
        return Examples(
            [self.uids[row] for row in rows],
            [self.text_a[row] for row in rows],
            None if self.text_b is None else [self.text_b[row] for row in rows],
            None if self.targets is None else self.targets[rows],
        )


def from_table(table: Any, labels: list[str], kind: str) -> Examples:
    """Examples of an Arrow table with the columns uid, text_a, text_b and label (name) or value."""
    import numpy as np

    second = table.column("text_b").to_pylist()
    targets: np.ndarray | None = None
    if kind == "regression":
        targets = table.column("value").to_numpy(zero_copy_only=False).astype(np.float32)
    elif kind != "text":
        index = {name: position for position, name in enumerate(labels)}
        names = table.column("label").to_pylist()
        unknown = sorted({str(name) for name in names if name not in index})
        if unknown:
            raise FtbenchError(f"found labels {unknown}; expected only {labels}")
        targets = np.array([index[name] for name in names], dtype=np.int64)
    return Examples(
        table.column("uid").to_pylist(),
        table.column("text_a").to_pylist(),
        None if any(text is None for text in second) else second,
        targets,
    )


@dataclass(frozen=True)
class Encoded:
    """Token ids per row (int64 arrays), segment ids where the tokenizer has them, and targets.

    `longest` is the number of tokens that a row was cut to: padding never goes beyond it.
    """

    ids: list[np.ndarray]
    segments: list[np.ndarray] | None
    targets: np.ndarray | None
    lengths: np.ndarray
    padding_id: int
    longest: int | None = None

    def __len__(self) -> int:
        return len(self.ids)


def encode(tokenizer: Any, examples: Examples, max_length: int) -> Encoded:
    """Tokenise once, without padding; the longer text of a pair is cut first."""
    import numpy as np

    if len(examples) == 0:
        return Encoded([], None, examples.targets, np.zeros(0, dtype=np.int64), tokenizer.pad_token_id or 0)
    columns = tokenizer(
        examples.text_a,
        examples.text_b,
        truncation=True,
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
    )
    ids = [np.asarray(row, dtype=np.int64) for row in columns["input_ids"]]
    segments = columns.get("token_type_ids")
    return Encoded(
        ids,
        None if segments is None else [np.asarray(row, dtype=np.int64) for row in segments],
        examples.targets,
        np.array([len(row) for row in ids], dtype=np.int64),
        tokenizer.pad_token_id or 0,
        max_length,
    )
