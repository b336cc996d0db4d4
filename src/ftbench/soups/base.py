"""The contract of a soup recipe: which ingredients, with which weights.

A recipe is one file with a class derived from `Recipe`. The soup stage checks the ingredients, sorts them, and
offers trial scores on the `select` rows through `Kitchen`; a recipe never sees test rows and writes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ftbench.config.strict import Strict


@dataclass(frozen=True)
class Candidate:
    """A run that may go into the soup, with its score on the `select` rows."""

    run_id: str
    file: Path
    score: float


def best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By falling score; ties by run id, so that the order in which runs ended says nothing."""
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.run_id))


@dataclass(frozen=True)
class Kitchen:
    """The candidates, best first (ties by run id), and trial scores of weighted averages of them."""

    candidates: list[Candidate]
    score: Callable[[Mapping[str, float]], float]  # run id to weight; computed once per set of weights


@dataclass(frozen=True)
class Decision:
    """The weights of the ingredients (they sum to 1), and the score of each trial by the run it tried to add."""

    weights: dict[str, float]
    trials: dict[str, float] = field(default_factory=dict)


class Recipe:
    """Base of all recipes."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""

    class Config(Strict):
        """Settings of the recipe; a plug-in replaces it."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def decide(self, kitchen: Kitchen) -> Decision:
        """Choose ingredients and weights."""
        raise TypeError(f"the recipe {self.name} does not say how to choose its ingredients")


PLUGIN_BASE = Recipe
