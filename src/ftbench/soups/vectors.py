"""What recipes that merge task vectors share: weights, the scale that is tried, and the rule made of a recipe's part.

A recipe derived from `VectorRecipe` says in `combine` what is made of the task vectors of a stretch of one tensor.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts, Rule
    from ftbench.merging.task_vectors import Combine

TENTHS = tuple(step / 10 for step in range(1, 11))


class VectorConfig(Strict):
    """Settings that all of them have."""

    scales: tuple[float, ...] = Field(
        TENTHS, min_length=1, description="lambdas tried; the best on `select` is kept, a single one needs no trial"
    )
    weights: Literal["one", "share"] = Field("one", description="w_i: 1 for each ingredient, or 1/k")


class VectorRecipe(Recipe):
    """theta = theta_0 + lambda f(T_1..T_k) with T_i = theta_i - theta_0, per tensor."""

    needs_start = True
    keeps_one = False

    @abstractmethod
    def combine(self, parts: Parts, runs: Sequence[str], weights: Sequence[float]) -> Combine:
        """f for one tensor: called once a tensor, what it returns once a stretch, in the order of the stretches."""

    def rule(self, weights: Mapping[str, float], scale: float) -> Rule:
        """The rule for given w_i and lambda."""

        def merged(parts: Parts) -> torch.Tensor:
            from ftbench.merging.task_vectors import merged

            runs, shares = list(weights), list(weights.values())
            return merged(parts, runs, self.combine(parts, runs, shares), scale)

        return merged

    def decide(self, kitchen: Kitchen) -> Decision:
        runs = [candidate.run_id for candidate in kitchen.candidates]
        weight = 1.0 if self.config.weights == "one" else 1 / len(runs)
        shares = dict.fromkeys(runs, weight)
        options = {
            str(scale): Decision(
                {run: scale * share for run, share in shares.items()},
                rule=self.rule(shares, scale),
                details=self.told(scale),
            )
            for scale in self.config.scales
        }
        return kitchen.best_of(options, "scales")

    def told(self, scale: float) -> dict[str, Any]:
        """What the record says of the rule beside the settings."""
        return {"scale": scale}
