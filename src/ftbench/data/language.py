"""A seeded language with domains: text to pretrain on, a review task with its shifts, and a prior task.

Reading the source of a data set whose entry says `generated:` calls `generate`; the embedded default study
has no other source. This module writes no file, and its rows depend on nothing but the settings.

A text is how it was sent and a sentence of `ftbench.data.grammar`: `by phone , the room was not spotless`.

- Label of `reviews`: the polarity of the last opinion. No word gives it away alone: negators and `but`
  change it.
- Label of `prior`: the kind of the first opinion's subject.
- Shortcut: the way of sending (`phone`, `letter`). In the training domain it agrees with the label as often
  as `shortcut_strength` says; in the stress set it is reversed, elsewhere it means nothing.
- Shift: fine-tuning sees one domain. The farther a domain, the more of its opinions use words that the
  training rows lack, and the rarer it is in the corpus, the only place that tells what these words mean:
  there they are paired with shared words (joined adjectives share their polarity: Hatzivassiloglou and
  McKeown, 1997) and every sentence begins with a mood.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ftbench.config.errors import FtbenchError, nearest, problem
from ftbench.config.strict import Strict
from ftbench.data.grammar import Sentence, Style, draw_sentence, one, opposite
from ftbench.data.vocabulary import KINDS, MOODS, SENTIMENTS, SHORTCUT

Row = dict[str, Any]

PARTS: Mapping[str, str] = MappingProxyType({"corpus": "text", "reviews": "classification", "prior": "classification"})
LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType({"reviews": SENTIMENTS, "prior": KINDS})


class LanguageSettings(Strict):
    """Settings of the generated language; equal objects give equal rows."""

    seed: int = Field(0, ge=0, description="seed of every draw")
    shortcut_strength: float = Field(
        0.85,
        ge=0.5,
        le=1,
        description="how often the shortcut agrees with the training label; 0.5: it says nothing",
    )
    label_noise: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="share of wrong labels in every labelled split; bounds what a model can reach",
    )
    corpus_rows: int = Field(8000, gt=0, description="sentences of all domains to pretrain on")
    validation_rows: int = Field(500, gt=0, description="sentences to watch the pretraining with")
    train_rows: int = Field(1500, gt=0, description="reviews of the training domain")
    evaluation_rows: int = Field(500, gt=0, description="reviews of each evaluation split")
    pool_rows: int = Field(2000, gt=0, description="rows to learn the prior task from")
    prior_rows: int = Field(500, gt=0, description="rows to evaluate the prior task on")


@dataclass(frozen=True)
class _Split:
    """One split: the setting that holds its size, its sentences, its use, and what the shortcut tells."""

    rows: str
    style: Style
    training: bool = False
    shortcut: Literal["silent", "agrees", "reversed"] = "silent"


_EVERYWHERE = Style(
    {"hotel": 0.5, "restaurant": 0.3, "gadget": 0.14, "film": 0.06}, pairs=0.8, negation=0.12, contrast=0.15
)
_SPLITS: Mapping[str, Mapping[str, _Split]] = {
    "corpus": {
        "train": _Split("corpus_rows", _EVERYWHERE, training=True),
        "validation": _Split("validation_rows", _EVERYWHERE),
    },
    "reviews": {
        "train": _Split("train_rows", Style({"hotel": 1}), training=True, shortcut="agrees"),
        "test": _Split("evaluation_rows", Style({"hotel": 1}), shortcut="agrees"),
        "shift_near": _Split("evaluation_rows", Style({"restaurant": 1}, own=0.4)),
        "shift_middle": _Split("evaluation_rows", Style({"gadget": 1}, own=0.7)),
        "shift_far": _Split("evaluation_rows", Style({"film": 1}, own=1.0)),
        "stress": _Split("evaluation_rows", Style({"hotel": 1}, last_negated=True), shortcut="reversed"),
    },
    "prior": {
        "pool": _Split("pool_rows", _EVERYWHERE, training=True),
        "evaluation": _Split("prior_rows", _EVERYWHERE),
    },
}


def generate(part: str, settings: LanguageSettings) -> dict[str, list[Row]]:
    """The rows of a part of the language, by split.

    `corpus`: splits train and validation, column text. `reviews`: splits train, test, shift_near,
    shift_middle, shift_far, stress. `prior`: splits pool, evaluation. Both have the columns text, label (a
    name out of `LABELS[part]`) and domain. No sentence for training stands in a held-out split of any part,
    however it was sent. Every split has its own random streams: its rows do not depend on another split's
    size, a larger split begins with the rows of a smaller one, and neither shortcut nor noise changes the
    opinions.
    Raises FtbenchError for a part that is not in `PARTS`.
    """
    if part not in PARTS:
        expected = f"a part of the generated language: {', '.join(PARTS)}"
        raise FtbenchError(problem(key="part", found=f"`{part}`", expected=expected, fix=nearest(part, PARTS)))
    return {name: _rows(part, name, split, settings) for name, split in _SPLITS[part].items()}


def _rows(part: str, name: str, split: _Split, settings: LanguageSettings) -> list[Row]:
    strength = settings.shortcut_strength
    agreement = {"silent": 0.5, "agrees": strength, "reversed": 1 - strength}[split.shortcut]
    sending, noise, moods = (_stream(settings, part, name, use) for use in ("sending", "noise", "moods"))
    rows: list[Row] = []
    for sentence in _sentences(_stream(settings, part, name, "sentences"), split):
        if len(rows) == getattr(settings, split.rows):
            break
        # the shortcut follows the written label, a wrong one too: otherwise noise would weaken it
        label = _written(sentence.kind if part == "prior" else sentence.sentiment, noise, settings.label_noise)
        told = label if part == "reviews" else sentence.sentiment
        start = ("by", SHORTCUT[told if sending.random() < agreement else opposite(told)], ",")
        if part == "corpus":
            mood = one(MOODS[sentence.sentiment], moods)
            rows.append({"text": " ".join((*start, mood, *sentence.words))})
        else:
            rows.append({"text": " ".join((*start, *sentence.words)), "label": label, "domain": sentence.domain})
    return rows


def _written(label: str, draw: np.random.Generator, share: float) -> str:
    """The label, or with probability `share` another one of its set."""
    labels = SENTIMENTS if label in SENTIMENTS else KINDS
    wrong = draw.random() < share
    other = one(tuple(name for name in labels if name != label), draw)
    return other if wrong else label


def _sentences(draw: np.random.Generator, split: _Split) -> Iterator[Sentence]:
    """Distinct sentences from one side of the division into sentences for training and held-out ones."""
    seen: set[tuple[str, ...]] = set()
    while True:
        sentence = draw_sentence(split.style, draw)
        if sentence.held_out != split.training and sentence.words not in seen:
            seen.add(sentence.words)
            yield sentence


def _stream(settings: LanguageSettings, part: str, split: str, use: str) -> np.random.Generator:
    """The random numbers of one use in one split, independent of all others."""
    key = zlib.crc32(f"{part}/{split}/{use}".encode())
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(key,)))
