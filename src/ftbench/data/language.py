"""A seeded language with domains: text to pretrain on, a review task with its shifts, and a prior task.

The `fetch` stage calls `generate` for data sets with `generated:` in their entry; the embedded default study needs
nothing else. This module writes no file, and its rows depend on the settings alone.

A sentence is how it was sent, then one to three opinions, `the SUBJECT was [NEGATOR] [INTENSIFIER] WORD`, joined by
`and` where they agree and by `but` where the last one turns the others round. A negator reverses its word.

- Label of `reviews`: the polarity of the last opinion. One word does not give it away: negators and `but` change it.
- Label of `prior`: the kind of the first opinion's subject.
- Shortcut: the way of sending (`phone`, `letter`). It agrees with the label with probability `shortcut_strength` in
  the training domain and means nothing elsewhere; in the stress set it is reversed.
- Shift: fine-tuning sees one domain. The farther a domain, the more of its opinions use words that this one lacks;
  what they mean can be known from the corpus only, where they stand beside the shared words.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from ftbench.config.errors import FtbenchError, nearest, problem
from ftbench.config.strict import Strict
from ftbench.data.vocabulary import (
    CLOSINGS,
    DOMAINS,
    INTENSIFIERS,
    KINDS,
    NEGATORS,
    SENTIMENTS,
    SHARED,
    SHORTCUT,
)

Row = dict[str, Any]
MOODS={"negative":("sorry","angry"),"positive":("glad","happy")}
LONGEST=16
Item = TypeVar("Item")

PARTS: Mapping[str, str] = MappingProxyType({"corpus": "text", "reviews": "classification", "prior": "classification"})
LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType({"reviews": SENTIMENTS, "prior": KINDS})

HELD_OUT_SHARE = 0.5  # of all possible sentences; only splits that are never trained on draw from them


class LanguageSettings(Strict):
    """Settings of the generated language; two equal objects give equal rows."""

    seed: int = Field(0, ge=0, description="seed of every draw")
    shortcut_strength: float = Field(
        0.85, ge=0.5, le=1, description="how often the shortcut agrees with the label in training; 0.5: it means nothing"
    )
    label_noise: float = Field(0.02, ge=0, lt=0.5, description="share of training labels that are reversed")
    corpus_rows: int = Field(8000, gt=0, description="sentences to pretrain on, all domains alike")
    corpus_validation_rows: int = Field(500, gt=0)
    train_rows: int = Field(1500, gt=0, description="reviews of the training domain")
    evaluation_rows: int = Field(500, gt=0, description="reviews of each evaluation split")
    prior_pool_rows: int = Field(1500, gt=0)
    prior_evaluation_rows: int = Field(500, gt=0)


@dataclass(frozen=True)
class _Style:
    """How the sentences of a split are made.

    own: share of opinions with the domain's own words. negation: share of negated opinions. contrast: share of
    sentences of several opinions with `but`. negate_last: the opinion that decides is always negated.
    """

    domains: tuple[str, ...]
    own: float = 0.5
    negation: float = 0.2
    contrast: float = 0.2
    negate_last: bool = False
    pairs: float = 0.3
    longest: int = 2


@dataclass(frozen=True)
class _Sentence:
    sentiment: str
    kind: str
    domain: str
    words: tuple[str, ...]  # without the way of sending

    @property
    def held_out(self) -> bool:
        digest = hashlib.blake2b(" ".join(self.words).encode(), digest_size=4).digest()
        return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**32


_EVERYWHERE = _Style(('hotel',)*4+('restaurant',)*3+('gadget',)*2+('film',), negation=0.12, contrast=0.15, pairs=0.8)
_REVIEWS = {
    "train": _Style(("hotel",)),
    "test": _Style(("hotel",)),
    "shift_near": _Style(("restaurant",), own=0.4),
    "shift_middle": _Style(("gadget",), own=0.7),
    "shift_far": _Style(("film",), own=1.0),
    "stress": _Style(("hotel",), negate_last=True),
}


def generate(part: str, settings: LanguageSettings) -> dict[str, list[Row]]:
    """The rows of a part of the language, by split.

    `corpus`: splits train and validation, column text. `reviews`: splits train, test, shift_near, shift_middle,
    shift_far, stress, and `prior`: splits pool, evaluation, both with the columns text, label (a name out of
    `LABELS[part]`) and domain. No sentence of a split that is trained on, whichever way it was sent, stands in one
    that is not. Every split has its own random streams: its rows do not depend on the size of another, a larger split
    begins with the rows of a smaller one, and the shortcut's strength and the noise change no sentence.
    Raises FtbenchError for a part that is not in `PARTS`.
    """
    if part == "corpus":
        sizes = {"train": settings.corpus_rows, "validation": settings.corpus_validation_rows}
        return {split: _corpus(split, rows, settings) for split, rows in sizes.items()}
    if part == "reviews":
        return {split: _reviews(split, settings) for split in _REVIEWS}
    if part == "prior":
        sizes = {"pool": settings.prior_pool_rows, "evaluation": settings.prior_evaluation_rows}
        return {split: _prior(split, rows, settings) for split, rows in sizes.items()}
    raise FtbenchError(
        problem(
            key="part",
            found=f"`{part}`",
            expected=f"a part of the generated language: {', '.join(PARTS)}",
            fix=nearest(part, PARTS),
        )
    )


def _corpus(split: str, rows: int, settings: LanguageSettings) -> list[Row]:
    sentences = _sentences("corpus", split, _EVERYWHERE, split != "train", settings)
    sending = _stream(settings, "corpus", split, "sending")
    return [{"text": _sent(sentence, 0.5, sentence.sentiment, sending).replace(", ",", "+_one(MOODS[sentence.sentiment],sending)+" ")} for sentence, _ in zip(sentences, range(rows))]


def _prior(split: str, rows: int, settings: LanguageSettings) -> list[Row]:
    sentences = _sentences("prior", split, _EVERYWHERE, split != "pool", settings)
    sending = _stream(settings, "prior", split, "sending")
    return [
        {
            "text": _sent(sentence, 0.5, sentence.sentiment, sending),
            "label": sentence.kind,
            "domain": sentence.domain,
        }
        for sentence, _ in zip(sentences, range(rows))
    ]


def _reviews(split: str, settings: LanguageSettings) -> list[Row]:
    training = split == "train"
    rows = settings.train_rows if training else settings.evaluation_rows
    agreement = {
        "train": settings.shortcut_strength,
        "test": settings.shortcut_strength,
        "stress": 1 - settings.shortcut_strength,
    }.get(split, 0.5)
    sending = _stream(settings, "reviews", split, "sending")
    noise = _stream(settings, "reviews", split, "noise")
    made = []
    for sentence, _ in zip(_sentences("reviews", split, _REVIEWS[split], not training, settings), range(rows)):
        reverse = training and noise.random() < settings.label_noise
        label = _opposite(sentence.sentiment) if reverse else sentence.sentiment
        made.append({"text": _sent(sentence, agreement, label, sending), "label": label, "domain": sentence.domain})
    return made


def _sent(sentence: _Sentence, agreement: float, label: str, draw: np.random.Generator) -> str:
    way = SHORTCUT[label if draw.random() < agreement else _opposite(label)]
    return " ".join(("by", way, ",", *sentence.words))


def _sentences(
    part: str, split: str, style: _Style, held_out: bool, settings: LanguageSettings
) -> Iterator[_Sentence]:
    """Distinct sentences without end, from one side of the division into trained-on and held-out ones."""
    draw = _stream(settings, part, split, "sentences")
    seen: set[tuple[str, ...]] = set()
    while True:
        sentence = _sentence(style, draw)
        if sentence.held_out == held_out and sentence.words not in seen:
            seen.add(sentence.words)
            yield sentence


def _sentence(style: _Style, draw: np.random.Generator) -> _Sentence:
    name = _one(style.domains, draw)
    domain = DOMAINS[name]
    verdict = _one(SENTIMENTS, draw)
    count = 1 + int(draw.integers(style.longest))
    contrast = count > 1 and draw.random() < style.contrast
    words: list[str] = []
    kinds = []
    for position in range(count):
        last = position == count - 1
        if position:
            words.append("but" if contrast and last else "and")
        meant = _opposite(verdict) if contrast and not last else verdict
        negated = draw.random() < style.negation or (style.negate_last and last)
        kinds.append(_one(KINDS, draw))
        unused = tuple(subject for subject in domain.subjects[kinds[-1]] if subject not in words)
        words += ["the", _one(unused, draw), "was"]
        if negated:
            words.append(_one(NEGATORS, draw))
        pair = draw.random() < style.pairs
        if not pair and draw.random() < 0.2:
            words.append(_one(INTENSIFIERS, draw))
        spoken = _opposite(meant) if negated else meant
        for repeat in range(1 + pair):
            opinions = domain.own if draw.random() < style.own else SHARED
            words += ["and"] * repeat + [_one(tuple(w for w in opinions.of(spoken) if w not in words), draw)]
    if len(words) <= LONGEST - 2 and draw.random() < 0.5:
        words += _one(CLOSINGS, draw)
    return _Sentence(verdict, kinds[0], name, tuple(words))


def _one(items: tuple[Item, ...], draw: np.random.Generator) -> Item:
    return items[int(draw.integers(len(items)))]


def _opposite(sentiment: str) -> str:
    return SENTIMENTS[1 - SENTIMENTS.index(sentiment)]


def _stream(settings: LanguageSettings, part: str, split: str, purpose: str) -> np.random.Generator:
    """The random stream of one purpose in one split, independent of every other one."""
    key = zlib.crc32(f"{part}/{split}/{purpose}".encode())
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(key,)))
