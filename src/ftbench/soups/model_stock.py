"""Model Stock: the mean of the ingredients, pulled towards their start by the angle between them.

Ingredients that point the same way keep their mean; ingredients at right angles give the start back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe, mean_of

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts, Rule


def ratio(products: torch.Tensor, clamp: bool) -> float:
    """t of a tensor from the Gram matrix of its task vectors. Pairs with a zero vector have no angle and do not
    count; without any pair the mean stays."""
    from ftbench.merging.geometry import cosine

    count = len(products)
    pairs = [cosine(products, first, second) for first in range(count) for second in range(first)]
    angles = [value for value in pairs if value is not None]
    if not angles:
        return 1.0
    mean = sum(angles) / len(angles)
    if 1 + (count - 1) * mean < 1e-12:  # vectors that cancel: their mean is the start
        return 0.0
    t = count * mean / (1 + (count - 1) * mean)
    return min(1.0, max(0.0, t)) if clamp else t


def stock(runs: list[str], clamp: bool) -> Rule:
    """The rule of the paper for one tensor after the other."""

    def merged(parts: Parts) -> torch.Tensor:
        from ftbench.merging.geometry import inner_products
        from ftbench.merging.streaming import weighted_sum

        tensors, start = [parts.of(run) for run in runs], parts.initial()
        t = ratio(inner_products(tensors, start), clamp)
        return weighted_sum([start, *tensors], [1 - t, *[t / len(runs)] * len(runs)], parts.accumulate)

    return merged


class ModelStock(Recipe):
    """All candidates; needs the start of the runs and no selection rows."""

    name = "model_stock"
    summary = "the mean of all ingredients, pulled towards their start by their angles"
    paper = "Jang et al. (2024), Model Stock: all we need is just a few fine-tuned models"
    reference_code = "arcee-ai/mergekit 0.1.5, merge_methods/model_stock.py"
    formula = "theta = t mean(theta_i) + (1-t) theta_0, t = k c/(1 + (k-1) c), c mean cosine of the task vectors"
    deviations = ("cosines are averaged, as mergekit does; averaging angles gives the same for two ingredients only",)
    needs_start = True

    class Config(Strict):
        clamp: bool = Field(False, description="keep t within 0 and 1; a negative cosine gives a negative t")

    def decide(self, kitchen: Kitchen) -> Decision:
        runs = [candidate.run_id for candidate in kitchen.candidates]
        return Decision(mean_of(runs), rule=stock(runs, self.config.clamp), varying=len(runs) > 1)
