"""Uniform soup: the mean of all ingredients, good and bad ones alike. It needs no selection rows."""

from __future__ import annotations

from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of


class Uniform(Recipe):
    """Every candidate with the same weight."""

    name = "uniform"
    summary = "the mean of all ingredients"
    paper = "Wortsman et al. (2022), Model soups"
    formula = "theta = (1/k) sum_i theta_i"

    def decide(self, kitchen: Kitchen) -> Decision:
        return Decision(mean_of([candidate.run_id for candidate in kitchen.candidates]))
