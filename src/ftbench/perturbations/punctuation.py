"""Punctuation marks taken away, or put in behind words where none is.

Any language. An apostrophe or a hyphen between two letters is part of a word and stays.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from ftbench.perturbations.spans import WORDS, Edit, SpanPerturbation, Sparing, chosen


def is_mark(text: str, at: int) -> bool:
    """Whether the character is punctuation and not within a word."""
    inside = 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()
    return unicodedata.category(text[at]).startswith("P") and not inside


class Punctuation(SpanPerturbation):
    """Each mark, or each end of a word without one, is hit."""

    name = "punctuation"
    summary = "punctuation taken away or put in"
    strength = "share of the marks (remove) or of the words without a mark behind them (insert) that are hit"

    class Config(Sparing):
        operation: Literal["remove", "insert"] = Field("insert", description="what is done")
        marks: str = Field(",.;:!?", min_length=1, description="marks to put in, each equally likely")

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        if self.config.operation == "remove":
            return ((at, at + 1) for at in range(len(text)) if is_mark(text, at))
        ends = (match.end() for match in WORDS.finditer(text))
        return ((end, end) for end in ends if not is_mark(text, end - 1))

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        return Edit(start, end, "" if self.config.operation == "remove" else chosen(self.config.marks, draws[0]))
