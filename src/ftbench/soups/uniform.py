"""Uniform soup: the mean of all ingredients.

Paper: Wortsman et al. (2022), Model soups. Formula: theta = (1/k) sum_i theta_i.
"""

from __future__ import annotations

from ftbench.soups.base import Decision, Kitchen, Recipe


class Uniform(Recipe):
    """Every candidate with the same weight."""

    name = "uniform"
    summary = "the mean of all ingredients"
    paper = "Wortsman et al. (2022), Model soups"

    def decide(self, kitchen: Kitchen) -> Decision:
        share = 1 / len(kitchen.candidates)
        return Decision({candidate.run_id: share for candidate in kitchen.candidates})
