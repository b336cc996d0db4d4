"""Task arithmetic: the sum of the task vectors, scaled. With weights 1/k and scale 1 it is the uniform soup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftbench.soups.vectors import VectorConfig, VectorRecipe

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts
    from ftbench.merging.task_vectors import Combine


class TaskArithmetic(VectorRecipe):
    """All candidates."""

    name = "task_arithmetic"
    summary = "the scaled sum of all task vectors on top of the start"
    paper = "Ilharco et al. (2023), Editing models with task arithmetic"
    reference_code = "arcee-ai/mergekit 0.1.5, task_arithmetic"
    formula = "theta = theta_0 + lambda sum_i w_i (theta_i - theta_0)"

    class Config(VectorConfig):
        pass

    def combine(self, parts: Parts, runs: Sequence[str], weights: Sequence[float]) -> Combine:
        from ftbench.merging.task_vectors import total

        def summed(deltas: torch.Tensor) -> torch.Tensor:
            return total(deltas, weights)

        return summed
