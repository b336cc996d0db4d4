"""The contract of a soup recipe: which ingredients, with which weights, merged by which rule.

A recipe is one file with a class derived from `Recipe`. The soup stage checks the ingredients, sorts them, and
offers trial scores on the `select` rows through `Kitchen`; a recipe never sees test rows and writes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ftbench.config.strict import Strict

if TYPE_CHECKING:
    from ftbench.merging.streaming import Rule
    from ftbench.soups.laboratory import Laboratory


@dataclass(frozen=True)
class Candidate:
    """A run that may go into the soup, with its score on the `select` rows."""

    run_id: str
    file: Path
    score: float


def best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By falling score; ties by run id, so that the order in which runs ended says nothing."""
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.run_id))


def mean_of(run_ids: list[str]) -> dict[str, float]:
    """Equal weights."""
    return {run_id: 1 / len(run_ids) for run_id in run_ids}


@dataclass(frozen=True)
class Decision:
    """What a recipe decided.

    `weights`: the ingredients; without a `rule` the soup is sum_i w_i theta_i. `trials`: the score of each trial by
    the run that it tried to add. `varying`: the weights differ by tensor, and those above are their means.
    `details`: what `recipe.json` keeps of the choice, as JSON.
    """

    weights: dict[str, float]
    trials: dict[str, float] = field(default_factory=dict)
    rule: Rule | None = field(default=None, compare=False)
    varying: bool = False
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kitchen:
    """The candidates, best first (ties by run id), and trial scores of what can be made of them."""

    candidates: list[Candidate]
    score: Callable[[Mapping[str, float]], float]  # run id to weight, sum_i w_i theta_i; once for each set of weights
    judge: Callable[[Decision], float] | None = None  # the same for any decision
    laboratory: Laboratory | None = None  # model and `select` rows, for recipes that measure or learn

    def best_of(self, options: Mapping[str, Decision], what: str) -> Decision:
        """The option with the highest score on `select`, the first of them on ties, with all scores in `details`
        under `what`. A single option needs no trial."""
        names = list(options)
        if len(names) == 1:
            return replace(options[names[0]], details={**options[names[0]].details, what: {names[0]: None}})
        assert self.judge is not None
        scores = {name: self.judge(option) for name, option in options.items()}
        best = max(names, key=lambda name: scores[name])
        return replace(options[best], details={**options[best].details, what: scores, "chosen": best})


class Recipe:
    """Base of all recipes."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    reference_code: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    deviations: ClassVar[tuple[str, ...]] = ()
    needs_start: ClassVar[bool] = False  # wants theta_0, the model before the first step
    learns_on_select: ClassVar[bool] = False  # trains on a part of the `select` rows; the other part compares
    keeps_one: ClassVar[bool] = True  # of a single ingredient it makes that ingredient

    class Config(Strict):
        """Settings of the recipe; a plug-in replaces it."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def decide(self, kitchen: Kitchen) -> Decision:
        """Choose ingredients, weights and, where it is no plain average, the rule that merges them."""
        raise TypeError(f"the recipe {self.name} does not say how to choose its ingredients")


PLUGIN_BASE = Recipe
