"""Words in capitals, in small letters, or with their letters' case turned round.

Any script that has two cases. A model that reads small letters only does not see it: its texts count as changed and
its answers stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from ftbench.perturbations.spans import WORDS, Edit, SpanPerturbation, Sparing


class LetterCase(SpanPerturbation):
    """Each word is hit as a whole."""

    name = "letter_case"
    summary = "words in capitals, in small letters or with case turned round"
    strength = "share of the words that are hit"

    class Config(Sparing):
        style: Literal["upper", "lower", "title", "inverted"] = Field("upper", description="what a word becomes")

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        return (match.span() for match in WORDS.finditer(text))

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        word = text[start:end]
        made = {"upper": str.upper, "lower": str.lower, "title": str.title, "inverted": str.swapcase}
        return Edit(start, end, made[self.config.style](word))
