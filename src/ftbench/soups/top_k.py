"""Top-k soup: the mean of the k candidates with the highest select scores.

The control for recipes that try ingredients: without it one cannot say that trying mattered.
"""

from __future__ import annotations

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of


class TopK(Recipe):
    """All candidates, where there are fewer than asked for."""

    name = "top_k"
    summary = "the mean of the candidates with the highest select scores"
    paper = "Wortsman et al. (2022), Model soups (the order in which its greedy soup tries)"
    formula = "theta = (1/k) (theta_(1) + ... + theta_(k)), by falling select score"

    class Config(Strict):
        ingredients: int = Field(3, ge=1, description="how many go in")

    def decide(self, kitchen: Kitchen) -> Decision:
        return Decision(mean_of([item.run_id for item in kitchen.candidates[: self.config.ingredients]]))
