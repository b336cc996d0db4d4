"""Typing mistakes inside words: two letters swapped, one left out, one put in, one mistaken for another.

The first and the last letter stay, so a reader still knows the word (Pruthi, Dhingra and Lipton, 2019, Combating
Adversarial Misspellings with Robust Word Recognition). Any script with letters; the alphabet is a setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from ftbench.perturbations.spans import LETTERS, Edit, SpanPerturbation, Sparing, chosen

Operation = Literal["swap", "delete", "insert", "substitute"]


class Typos(SpanPerturbation):
    """Each inner letter of a word is hit; a swap takes the letter behind it, or before it at the end of a word."""

    name = "typos"
    summary = "letters inside words swapped, left out, put in or mistaken"
    strength = "share of the inner letters of words that are hit"
    paper = (
        "Pruthi, Dhingra and Lipton (2019), Combating Adversarial Misspellings with Robust Word Recognition; Belinkov "
        "and Bisk (2018), Synthetic and Natural Noise Both Break Neural Machine Translation"
    )

    class Config(Sparing):
        operations: tuple[Operation, ...] = Field(
            ("swap", "delete", "insert", "substitute"), min_length=1, description="each equally likely"
        )
        shortest: int = Field(4, ge=1, description="words with fewer letters stay")
        inner: bool = Field(True, description="the first and the last letter of a word stay")
        alphabet: str = Field("abcdefghijklmnopqrstuvwxyz", min_length=2, description="letters to put in")

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        for match in LETTERS.finditer(text):
            start, end = self._inside(match.span())
            if match.end() - match.start() >= self.config.shortest:
                yield from ((at, at + 1) for at in range(start, end))

    def _inside(self, word: tuple[int, int]) -> tuple[int, int]:
        return (word[0] + 1, word[1] - 1) if self.config.inner else word

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit | None:
        operation = chosen(self.config.operations, draws[0])
        old = text[start]
        if operation == "delete":
            return Edit(start, end, "")
        if operation == "swap":
            first, until = next(
                self._inside(match.span())
                for match in LETTERS.finditer(text, 0)
                if match.start() <= start < match.end()
            )
            if until - first < 2:
                return None
            at = start if start + 1 < until else start - 1
            return Edit(at, at + 2, text[at + 1] + text[at])
        letters = self.config.alphabet
        if operation == "substitute":
            letters = letters.replace(old.lower(), "") or letters
        new = chosen(letters, draws[1])
        new = new.upper() if old.isupper() else new
        return Edit(start, end, new if operation == "substitute" else old + new)
