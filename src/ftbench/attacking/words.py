"""A text as words and what stands between them, so that changing a word leaves every other character as it is.

The search and the plug-ins of attacks use it. A word is a run of letters, marks and digits; apostrophes and hyphens
inside it belong to it. Texts of languages written without spaces come out as one word between two punctuation marks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

JOINERS = frozenset("'\N{RIGHT SINGLE QUOTATION MARK}-\N{HYPHEN}")  # part of a word between two of its characters


def _belongs(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word."""
    start: int | None = None
    for place, character in enumerate(text):
        inside = _belongs(character)
        if start is None:
            start = place if inside else None
        elif not inside and not (character in JOINERS and place + 1 < len(text) and _belongs(text[place + 1])):
            yield start, place
            start = None
    if start is not None:
        yield start, len(text)


@dataclass(frozen=True)
class Words:
    """`words` and the `gaps` around them: one more than words, the first before the first word."""

    words: tuple[str, ...]
    gaps: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Words:
        """The words of any text; one without words is a single gap."""
        words, gaps, end = [], [], 0
        for start, stop in _spans(text):
            gaps.append(text[end:start])
            words.append(text[start:stop])
            end = stop
        return cls(tuple(words), (*gaps, text[end:]))

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def text(self) -> str:
        """The text again, every character of it."""
        return "".join(part for pair in zip(self.gaps, self.words, strict=False) for part in pair) + self.gaps[-1]

    def replaced(self, changes: Mapping[int, str]) -> Words:
        """The same with other words at some positions."""
        return Words(tuple(changes.get(place, word) for place, word in enumerate(self.words)), self.gaps)

    def without(self, position: int) -> Words:
        """The same without a word and without the spaces that would be left over."""
        before, behind = self.gaps[position], self.gaps[position + 1]
        if (before[-1:].isspace() and behind[:1].isspace()) or (position == 0 and not before):
            behind = behind.lstrip()
        elif position == len(self) - 1 and not behind:
            before = before.rstrip()
        words = self.words[:position] + self.words[position + 1 :]
        return Words(words, (*self.gaps[:position], before + behind, *self.gaps[position + 2 :]))

    def changed(self, other: Words) -> list[int]:
        """Positions at which another text of as many words has other words."""
        pairs = zip(self.words, other.words, strict=True)
        return [position for position, (mine, theirs) in enumerate(pairs) if mine != theirs]


def is_word(text: str) -> bool:
    """Whether a text is one word, as texts are cut into words, with a letter in it."""
    return Words.of(text).words == (text,) and any(unicodedata.category(character)[0] == "L" for character in text)
