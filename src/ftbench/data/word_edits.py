"""Four small edits of a list of words: replace, insert, swap, delete.

Each takes words as they stand between spaces, with punctuation, and a generator, and gives a new list. Words are
looked up in lower case without the punctuation around them, which stays where it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Synonyms = Mapping[str, tuple[str, ...]]
_PARTS = re.compile(r"(\W*)(.*?)(\W*)", re.S)


@cache
def stop_words() -> frozenset[str]:
    """English words that carry no topic: scikit-learn's list."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)


def _parts(word: str) -> tuple[str, str, str]:
    """Punctuation before, the word itself, punctuation behind."""
    found = _PARTS.fullmatch(word)
    assert found
    return found[1], found[2], found[3]


def in_case_of(word: str, other: str) -> str:
    """`other` with a capital at its start where `word` has one; all else as it is."""
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


def replaceable(words: list[str], synonyms: Synonyms, any_word: bool = False) -> list[str]:
    """The distinct words, in lower case and sorted, that have synonyms and, unless `any_word`, are no stop words."""
    found = {_parts(word)[1].lower() for word in words}
    return sorted(word for word in found if word in synonyms and (any_word or word not in stop_words()))


def letters_alone(text: str) -> str:
    """A text in lower case with a to z alone: apostrophes go, everything else becomes one space."""
    return " ".join(re.sub("[^a-z]+", " ", re.sub("['\N{RIGHT SINGLE QUOTATION MARK}]", "", text).lower()).split())


def replaced(words: list[str], count: int, synonyms: Synonyms, generator: np.random.Generator) -> list[str]:
    """All occurrences of `count` distinct words by one synonym each; a capital at the start stays one."""
    candidates = replaceable(words, synonyms)
    chosen = {}
    for position in generator.permutation(len(candidates))[:count]:
        word = candidates[position]
        chosen[word] = synonyms[word][generator.integers(len(synonyms[word]))]
    edited = []
    for word in words:
        before, core, behind = _parts(word)
        other = chosen.get(core.lower())
        if other is None:
            edited.append(word)
        else:
            edited.append(before + in_case_of(core, other) + behind)
    return edited


def inserted(
    words: list[str], count: int, synonyms: Synonyms, generator: np.random.Generator, any_word: bool = False
) -> list[str]:
    """`count` times a synonym of a random word at a random place; of stop words only with `any_word`."""
    candidates = replaceable(words, synonyms, any_word)
    edited = list(words)
    for _ in range(count if candidates else 0):
        others = synonyms[candidates[generator.integers(len(candidates))]]
        edited.insert(int(generator.integers(len(edited) + 1)), others[generator.integers(len(others))])
    return edited


def swapped(words: list[str], count: int, generator: np.random.Generator) -> list[str]:
    """`count` times two words at different places change places."""
    edited = list(words)
    for _ in range(count if len(words) > 1 else 0):
        first, second = generator.choice(len(edited), size=2, replace=False)
        edited[first], edited[second] = edited[second], edited[first]
    return edited


def deleted(words: list[str], probability: float, generator: np.random.Generator) -> list[str]:
    """Each word goes with `probability`; one random word stays where all would go."""
    if len(words) < 2:
        return list(words)
    kept = [word for word, draw in zip(words, generator.random(len(words)), strict=True) if draw >= probability]
    return kept or [words[generator.integers(len(words))]]
