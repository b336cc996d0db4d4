"""Random-k soup: the mean of k candidates drawn at random, a control for every choice of ingredients.

What a selection gains beyond averaging as many runs as it took is its distance from this soup.
"""

from __future__ import annotations

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of


class RandomK(Recipe):
    """All candidates, where there are fewer than asked for. The draw depends on the run ids and not on scores."""

    name = "random_k"
    summary = "the mean of ingredients drawn at random"
    paper = "a control; no paper"
    formula = "theta = (1/k) sum of theta_i over a random set of k"

    class Config(Strict):
        ingredients: int = Field(3, ge=1, description="how many go in")
        seed: int = Field(0, ge=0, description="seed of the draw; several soups with several seeds show its spread")

    def decide(self, kitchen: Kitchen) -> Decision:
        from ftbench.training.seeds import numpy_generator

        runs = sorted(candidate.run_id for candidate in kitchen.candidates)
        drawn = numpy_generator(self.config.seed, "soup", "random_k").permutation(len(runs))
        return Decision(mean_of([runs[index] for index in sorted(drawn[: self.config.ingredients])]))
