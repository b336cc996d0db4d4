"""Perturbations that edit places of a text, each with a probability that is the strength.

A plug-in says which places there are and what an edit makes of one; drawing, overlaps and spared words are handled
here once. Nothing here knows a language but the list of English negators.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.perturbations.base import Perturbation

if TYPE_CHECKING:
    import numpy as np

LETTERS = re.compile(r"[^\W\d_]+")
WORDS = re.compile(r"\S+")
NEGATIONS = "negations"
_ENGLISH = (
    "not no never none nobody nothing neither nor nowhere hardly scarcely barely without cannot aint isnt wasnt arent "
    "werent dont doesnt didnt cant couldnt wont wouldnt shouldnt hasnt havent hadnt"
)
# the reach of a negator ends here, as in the reading of negation for sentiment (Pang, Lee and Vaithyanathan, 2002)
_STOPS = re.compile(r"[.,;:!?]")


@dataclass(frozen=True)
class Edit:
    """The characters from `start` up to `end` become `new`."""

    start: int
    end: int
    new: str


class Sparing(Strict):
    """Settings of perturbations that can leave some words alone."""

    spare: tuple[str, ...] = Field(
        (), description="words that are never edited; `negations` stands for the English ones (not, never, don't, ...)"
    )
    reach: int = Field(3, ge=0, description="words after a spared one that are spared too, up to a punctuation mark")


@cache
def _negators() -> frozenset[str]:
    return frozenset(_ENGLISH.split())


def negator(word: str) -> bool:
    """Whether a word, with the punctuation around it, is an English negator."""
    core = re.sub(r"[^\w']", "", word.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return core.endswith("n't") or core in _negators()


def spared(text: str, words: Sequence[str], reach: int) -> list[tuple[int, int]]:
    """Stretches (start, end) of a text that no edit may touch: the words, and `reach` words behind each of them."""
    listed = {word.casefold() for word in words}
    found, left = [], 0
    for match in WORDS.finditer(text):
        word = match[0]
        core = "".join(re.findall(r"[\w'-]+", word)).casefold()
        if core in listed or (NEGATIONS in listed and negator(word)):
            left = reach + 1
        if left:
            found.append(match.span())
            left = 0 if _STOPS.search(word[-1]) else left - 1
    return found


class SpanPerturbation(Perturbation):
    """A perturbation that hits each of its places with a probability of `strength`, from left to right.

    A place that an edit before it has swallowed is passed over. Each place has one draw that decides whether it is hit
    and two for what happens there, whatever the strength.
    """

    Config: ClassVar[type[Strict]] = Sparing

    @abstractmethod
    def places(self, text: str) -> Iterable[tuple[int, int]]:
        """Where an edit can be: (start, end), ascending; both are equal where something is put in."""

    @abstractmethod
    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit | None:
        """What the edit of one place does, from two draws in [0, 1); null where nothing can be done there."""

    def perturbed(self, text: str, strength: float, generator: np.random.Generator) -> str:
        places = self._open(text)
        draws = generator.random((len(places), 3)).tolist()
        parts, last = [], 0
        for (start, end), (hit, *further) in zip(places, draws, strict=True):
            if hit >= strength or start < last:
                continue
            edit = self.edit(text, start, end, further)
            if edit is None or edit.start < last:
                continue
            parts += [text[last : edit.start], edit.new]
            last = edit.end
        return "".join([*parts, text[last:]])

    def _open(self, text: str) -> list[tuple[int, int]]:
        """The places outside spared stretches."""
        places = list(self.places(text))
        words = getattr(self.config, "spare", ())
        closed = spared(text, words, self.config.reach) if words else []
        if not closed:
            return places
        return [
            (start, end)
            for start, end in places
            if not any(start < until and max(end, start + 1) > since for since, until in closed)
        ]


def chosen(options: Sequence[Any], draw: float) -> Any:
    """One of the options, from a draw in [0, 1)."""
    return options[int(draw * len(options))]


def like(word: str, pattern: str) -> str:
    """`word` with the capitals of `pattern`: all of them, the first one, or as it is."""
    if len(pattern) > 1 and pattern.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if pattern[:1].isupper() else word
