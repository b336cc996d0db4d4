"""Greedy soup: add ingredients, best first, as long as the mean gets better on the `select` rows.

Paper: Wortsman et al. (2022), Model soups; released code mlfoundations/model-soups @ d5398f1.
Formula: S <- {theta_(1)}; for i = 2..k: if score(mean(S + theta_(i))) > best then accept.
Deviations: ties between candidates are ordered by run id (the released code puts later-listed ones first), and
means are accumulated in float64 (the released code updates a running mean in the checkpoint's precision).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe


def mean_of(run_ids: list[str]) -> dict[str, float]:
    """Equal weights."""
    return {run_id: 1 / len(run_ids) for run_id in run_ids}


class Greedy(Recipe):
    """Candidates in order of their own score, each kept only if the soup's score rises."""

    name = "greedy"
    summary = "ingredients are added, best first, while the score on `select` rises"
    paper = "Wortsman et al. (2022), Model soups"

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
