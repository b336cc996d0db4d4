"""A victim whose answers can be worked out by hand, and an attack with a fixed list of synonyms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from ftbench.attacking.contract import Constraint, Site
from ftbench.attacking.settings import AttackSettings
from ftbench.attacking.victim import Pair, Victim
from ftbench.attacks.base import Attack


class BagOfWords(Victim):
    """Two labels; the logit of label 1 is the sum of the weights of the words, that of label 0 is zero."""

    unknown = "[UNK]"

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights, self.asked = weights, []  # type: Mapping[str, float], list[list[Any]]

    def inputs(self, pairs: Sequence[Pair]) -> list[Hashable]:
        return [" | ".join(part for part in pair if part is not None) for pair in pairs]

    def probabilities(self, inputs: Sequence[Any]) -> np.ndarray:
        self.asked.append(list(inputs))
        return np.array([self._of(text) for text in inputs]).reshape(len(inputs), 2)

    def _of(self, text: str) -> list[float]:
        first = 1 / (1 + math.exp(sum(self.weights.get(word, 0.0) for word in text.split())))
        return [first, 1 - first]


class Synonyms(Attack):
    """Replaces words by those of a list."""

    name, summary = "synonyms", "a fixed list"

    class Config(AttackSettings):
        stop_words: str = "none"

    def __init__(
        self, listed: Mapping[str, Sequence[str]], constraints: Sequence[Constraint] = (), **settings: Any
    ) -> None:
        super().__init__(self.Config(**settings))
        self.listed, self.asked_of = listed, constraints

    def candidates(self, sites: Sequence[Site]) -> list[list[str]]:
        return [list(self.listed.get(site.word, ())) for site in sites]

    def constraints(self) -> Sequence[Constraint]:
        return self.asked_of
