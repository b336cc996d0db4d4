"""Word vectors from a local file, and the nearest neighbours of a word among them.

Word-substitution attacks ask here for candidates and for the distance of two words. Text as word2vec, GloVe and the
counter-fitted vectors are published in, or safetensors with the words beside it; nothing is shipped or fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import numpy as np

_FORMATS = (
    "expected lines of a word and its numbers with spaces between them, or safetensors with a tensor `vectors` "
    "(words, width) and a text file of the same name with the ending .txt, one word a line"
)


@dataclass(frozen=True)
class WordVectors:
    """words: in the file's order; unit: float32 (words, width), each row of length 1 (or 0)."""

    words: tuple[str, ...]
    unit: np.ndarray

    @cached_property
    def places(self) -> dict[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    def neighbours(self, word: str, count: int, least: float = -1.0) -> list[tuple[str, float]]:
        """At most `count` other words by falling cosine, none below `least`; rows of equal cosine in the file's
        order. Empty for a word without a vector."""
        import numpy as np

        row = self.places.get(word)
        if row is None:
            return []
        cosines = self.unit @ self.unit[row]
        cosines[row] = -np.inf
        order = np.argsort(-cosines, kind="stable")[:count]
        return [(self.words[place], float(cosines[place])) for place in order if cosines[place] >= least]

    def cosine(self, first: str, second: str) -> float | None:
        """Cosine of two words; None where one of them has no vector."""
        rows = self.places.get(first), self.places.get(second)
        return None if rows[0] is None or rows[1] is None else float(self.unit[rows[0]] @ self.unit[rows[1]])


def read_vectors(file: Path) -> WordVectors:
    """The vectors of a file; of a word that occurs twice the first. Other formats, rows of unequal width and
    numbers that are none raise an `FtbenchError`."""
    import numpy as np

    words, matrix = _from_safetensors(file) if file.suffix == ".safetensors" else _from_text(file)
    if not words:
        raise FtbenchError(f"{file}: found no vectors; {_FORMATS}")
    if not np.isfinite(matrix).all():
        bad = words[int(np.argmin(np.isfinite(matrix).all(axis=1)))]
        raise FtbenchError(f"{file}: found numbers that are not finite for the word {bad!r}; {_FORMATS}")
    rows: dict[str, int] = {}
    for row, word in enumerate(words):
        rows.setdefault(word, row)
    matrix = matrix[list(rows.values())]
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return WordVectors(tuple(rows), matrix / np.where(length > 0, length, 1))


def _from_text(file: Path) -> tuple[list[str], np.ndarray]:
    import numpy as np

    words: list[str] = []
    rows: list[np.ndarray] = []
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                word, *numbers = line.rstrip().split(" ")
                if number == 1 and len(numbers) == 1 and word.isdigit():
                    continue  # the count of words and the width, as word2vec writes them
                row = np.array(numbers, dtype=np.float32)
                if not len(row) or (rows and len(row) != len(rows[0])):
                    raise ValueError(f"{len(row)} numbers")
                words.append(word)
                rows.append(row)
    except ValueError as error:  # a text that is no UTF-8 is one of these too
        raise FtbenchError(f"{file}, line {len(rows) + 1}: found no vector ({error}); {_FORMATS}") from None
    return words, np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def _from_safetensors(file: Path) -> tuple[list[str], np.ndarray]:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise FtbenchError(f"{file}: found no safetensors ({error}); {_FORMATS}") from None
    listed = file.with_suffix(".txt")
    if "vectors" not in tensors or tensors["vectors"].ndim != 2 or not listed.is_file():
        found = {name: tensor.shape for name, tensor in tensors.items()}
        beside = "beside" if listed.is_file() else "without"
        raise FtbenchError(f"{file}: found {found} {beside} {listed.name}; {_FORMATS}")
    words, matrix = listed.read_text(encoding="utf-8").split("\n"), tensors["vectors"].astype(np.float32)
    words = words[:-1] if words[-1] == "" else words
    if len(words) != len(matrix):
        raise FtbenchError(f"{file}: found {len(matrix)} vectors and {len(words)} words in {listed.name}; {_FORMATS}")
    return words, matrix
