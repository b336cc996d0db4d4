"""Greedy soup: add ingredients, best first, as long as the mean gets better on the `select` rows.

Each trial is the mean of all that was accepted so far and one more run, scored on the `select` rows alone.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of


class Greedy(Recipe):
    """Candidates in order of their own score, each kept only if the soup's score rises."""

    name = "greedy"
    summary = "ingredients are added, best first, while the score on `select` rises"
    paper = "Wortsman et al. (2022), Model soups"
    reference_code = "mlfoundations/model-soups @ d5398f1, main.py"
    formula = "S <- {theta_(1)}; for i = 2..k: accept theta_(i) if score(mean(S + theta_(i))) > best"
    deviations = (
        "ties between candidates are ordered by run id; the released code puts later-listed ones first",
        "means are summed in float64 and cast once; the released code updates a running mean in the files' precision",
    )

    class Config(Strict):
        accept: Literal["gt", "ge"] = Field("gt", description="gt: strict improvement; ge: a tie is accepted too")

    def decide(self, kitchen: Kitchen) -> Decision:
        first, *others = kitchen.candidates
        chosen, best = [first.run_id], first.score
        trials: dict[str, float] = {}
        for candidate in others:
            score = kitchen.score(mean_of([*chosen, candidate.run_id]))
            trials[candidate.run_id] = score
            if score > best or (self.config.accept == "ge" and score == best):
                chosen.append(candidate.run_id)
                best = score
        return Decision(mean_of(chosen), trials)
