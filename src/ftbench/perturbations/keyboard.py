"""Letters mistaken for their neighbours on the keyboard.

Neighbours are keys whose middles are less than 1.3 key widths apart, with the three rows set off as on common
keyboards. Latin letters only: others have no key here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from pydantic import Field

from ftbench.perturbations.spans import Edit, SpanPerturbation, Sparing, chosen

_ROWS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiop", "asdfghjkl", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
}
_OFFSETS = (0.0, 0.25, 0.75)


@cache
def neighbours(layout: str) -> dict[str, str]:
    """Letters around each letter, in alphabetical order."""
    keys = {
        letter: (offset + column, row)
        for row, (letters, offset) in enumerate(zip(_ROWS[layout], _OFFSETS, strict=True))
        for column, letter in enumerate(letters)
    }
    return {
        letter: "".join(
            sorted(other for other, (a, b) in keys.items() if other != letter and (a - x) ** 2 + (b - y) ** 2 < 1.69)
        )
        for letter, (x, y) in keys.items()
    }


class Keyboard(SpanPerturbation):
    """Each letter of the layout is hit; a capital stays one."""

    name = "keyboard"
    summary = "letters mistaken for neighbours on the keyboard"
    strength = "share of the letters that are hit"
    paper = "Belinkov and Bisk (2018), Synthetic and Natural Noise Both Break Neural Machine Translation"

    class Config(Sparing):
        layout: Literal["qwerty", "qwertz", "azerty"] = Field("qwerty", description="which keyboard")

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        near = neighbours(self.config.layout)
        return ((at, at + 1) for at, letter in enumerate(text) if letter.lower() in near)

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        new = chosen(neighbours(self.config.layout)[text[start].lower()], draws[0])
        return Edit(start, end, new.upper() if text[start].isupper() else new)
