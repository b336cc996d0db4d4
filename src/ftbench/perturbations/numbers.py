"""Numbers by other numbers of as many digits. Any language with these digits.

For tasks whose label does not rest on quantities, such as sentiment; in inference and paraphrase it often does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ftbench.config.strict import Strict
from ftbench.perturbations.spans import Edit, SpanPerturbation

_DIGITS = re.compile(r"(?<![^\W\d_])[0-9]{1,15}(?![^\W\d_]|[0-9])")


class Numbers(SpanPerturbation):
    """Each run of digits that is no part of a word is hit: `3.50` has two of them. The new one is never the old one."""

    name = "numbers"
    summary = "numbers replaced by others of as many digits"
    strength = "share of the runs of digits that are replaced"
    paper = "Ribeiro, Wu, Guestrin and Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"

    class Config(Strict):
        pass

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        return (match.span() for match in _DIGITS.finditer(text))

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        size = end - start
        low = 0 if size == 1 or text[start] == "0" else 10 ** (size - 1)
        others = 10**size - low - 1
        new = low + int(draws[0] * others)
        new += new >= int(text[start:end])
        return Edit(start, end, f"{new:0{size}d}")
