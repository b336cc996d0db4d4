"""The sentences of the generated language: how opinions are built, joined and turned round.

`ftbench.data.language` asks it for one sentence at a time. It knows no splits, no shortcut and no noise, and
draws from nothing but the generator it is given.

A sentence has one or two opinions, `the SUBJECT was [NEGATOR] [INTENSIFIER] WORD` or `... WORD and WORD`. A
negator reverses the words after it. Two opinions agree and are joined by `and`, or the second turns against
the first and they are joined by `but`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ftbench.data.vocabulary import CLOSINGS, DOMAINS, INTENSIFIERS, KINDS, NEGATORS, SENTIMENTS, SHARED

Item = TypeVar("Item")

HELD_OUT_SHARE = 0.5  # of all possible sentences: the ones that no split for training may use
LONGEST = 16  # words of a sentence


@dataclass(frozen=True)
class Style:
    """How sentences are made: shares of the domains, then shares of opinions or sentences with a property."""

    domains: Mapping[str, float]
    own: float = 0.5  # words that only this domain uses
    pairs: float = 0.3  # two words joined by `and`
    negation: float = 0.2
    contrast: float = 0.2  # `but` where there are two opinions
    last_negated: bool = False


@dataclass(frozen=True)
class Sentence:
    """A sentence, the polarity of its last opinion, the kind of its first subject, and its domain."""

    sentiment: str
    kind: str
    domain: str
    words: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Whether the sentence is for evaluation; a function of its words alone, whatever seed drew them."""
        digest = hashlib.blake2b(" ".join(self.words).encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**32


def draw_sentence(style: Style, draw: np.random.Generator) -> Sentence:
    """A random sentence of 4 to 16 words; both polarities and all kinds of subject are equally frequent."""
    name = str(draw.choice(list(style.domains), p=list(style.domains.values())))
    verdict = one(SENTIMENTS, draw)
    count = 1 + int(draw.integers(2))
    joint = "but" if draw.random() < style.contrast else "and"
    words: list[str] = []
    kinds = []
    for position in range(count):
        last = position == count - 1
        meant = opposite(verdict) if joint == "but" and not last else verdict
        negated = draw.random() < style.negation or (style.last_negated and last)
        kinds.append(one(KINDS, draw))
        words += [joint] * position + ["the", _unused(DOMAINS[name].subjects[kinds[-1]], words, draw), "was"]
        if negated:
            words.append(one(NEGATORS, draw))
        pair = draw.random() < style.pairs
        if not pair and draw.random() < 0.2:
            words.append(one(INTENSIFIERS, draw))
        for repeat in range(1 + pair):
            opinions = DOMAINS[name].own if draw.random() < style.own else SHARED
            said = opinions.of(opposite(meant) if negated else meant)
            words += ["and"] * repeat + [_unused(said, words, draw)]
    if len(words) <= LONGEST - 2 and draw.random() < 0.5:
        words += one(CLOSINGS, draw)
    return Sentence(verdict, kinds[0], name, tuple(words))


def one(items: tuple[Item, ...], draw: np.random.Generator) -> Item:
    """One of the items, all equally likely."""
    return items[int(draw.integers(len(items)))]


def opposite(sentiment: str) -> str:
    """The other one of the two sentiments."""
    return SENTIMENTS[1 - SENTIMENTS.index(sentiment)]


def _unused(items: tuple[str, ...], words: list[str], draw: np.random.Generator) -> str:
    return one(tuple(item for item in items if item not in words), draw)
