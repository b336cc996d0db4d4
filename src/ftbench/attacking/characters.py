"""Small edits of the characters of one word, and how many such edits lie between two texts.

Character attacks use it. Every function gives all results in a fixed order; drawing among them is the attack's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ftbench.attacking.contract import Case, Constraint, Verdict

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # of a keyboard, each begins half a key to the right of the one above


def _neighbours() -> Mapping[str, str]:
    """Keys that touch each letter's on a QWERTY keyboard."""
    places = {letter: (row, column + row / 2) for row, keys in enumerate(_ROWS) for column, letter in enumerate(keys)}
    return MappingProxyType(
        {
            letter: "".join(
                sorted(
                    other
                    for other, (its_row, its_column) in places.items()
                    if other != letter and abs(its_row - row) <= 1 and abs(its_column - column) <= 1
                )
            )
            for letter, (row, column) in places.items()
        }
    )


NEIGHBOURS = _neighbours()


def swaps(word: str, places: Sequence[int]) -> list[str]:
    """The word with the characters at each place and the next one exchanged."""
    return [word[:place] + word[place + 1] + word[place] + word[place + 2 :] for place in places]


def deletions(word: str, places: Sequence[int]) -> list[str]:
    """The word without the character at each place."""
    return [word[:place] + word[place + 1 :] for place in places]


def insertions(word: str, places: Sequence[int], letters: str) -> list[str]:
    """The word with each of the letters before the character at each place."""
    return [word[:place] + letter + word[place:] for place in places for letter in letters]


def substitutions(word: str, places: Sequence[int], letters: str) -> list[str]:
    """The word with each of the letters instead of the character at each place, unless it is that character."""
    return [
        word[:place] + letter + word[place + 1 :] for place in places for letter in letters if letter != word[place]
    ]


def neighbour_substitutions(word: str, places: Sequence[int]) -> list[str]:
    """The word with the character at each place exchanged for a neighbour on the keyboard, in the same case."""
    found = []
    for place in places:
        for letter in NEIGHBOURS.get(word[place].lower(), ""):
            cased = letter.upper() if word[place].isupper() else letter
            found.append(word[:place] + cased + word[place + 1 :])
    return found


def edit_distance(first: str, second: str) -> int:
    """Levenshtein's distance: fewest insertions, deletions and substitutions of characters between two texts."""
    before = list(range(len(second) + 1))
    for row, character in enumerate(first, 1):
        now = [row]
        for column, other in enumerate(second, 1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (character != other)))
        before = now
    return before[-1]


class EditDistance(Constraint):
    """At most so many edits between the original text and the changed one, added up over its words."""

    def __init__(self, most: int) -> None:
        self.most = most

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict(self._distance(case) <= self.most) for case in cases]

    def _distance(self, case: Case) -> int:
        # only words change, so the sum over words is the distance along them, and never below that of the texts
        pairs = zip(case.site.original.words, case.changed.words, strict=True)
        return sum(edit_distance(before, after) for before, after in pairs if before != after)
