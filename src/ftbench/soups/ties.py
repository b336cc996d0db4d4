"""TIES: keep each task vector's largest entries, elect a sign for every entry, average what agrees with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.soups.vectors import VectorConfig, VectorRecipe

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts
    from ftbench.merging.task_vectors import Combine


class Ties(VectorRecipe):
    """All candidates."""

    name = "ties"
    summary = "largest entries of the task vectors, averaged where their signs agree"
    paper = "Yadav et al. (2023), TIES-Merging"
    reference_code = "arcee-ai/mergekit 0.1.5, ties"
    formula = "trim to the top rho by |T|; sign = sign(sum_i w_i T_i); weighted mean of the entries with that sign"
    deviations = (
        "trimmed tensor by tensor, as mergekit does; the paper's code trims the model as a whole",
        "a sum of exactly zero counts as positive; the paper's code gives it the sign of the whole model's majority",
        "at least one entry of a tensor is kept, and entries tied with the last one kept are kept too",
    )

    class Config(VectorConfig):
        density: float = Field(0.2, gt=0, le=1, description="rho, the share of entries of each tensor that is kept")
        scales: tuple[float, ...] = Field(
            (1.0,), min_length=1, description="lambdas tried; the best on `select` is kept, a single one needs no trial"
        )

    def combine(self, parts: Parts, runs: Sequence[str], weights: Sequence[float]) -> Combine:
        from ftbench.merging.streaming import matrix_shape
        from ftbench.merging.task_vectors import agreeing_mean, column, kept_count, magnitudes

        rows, width = matrix_shape(parts.initial())
        if not rows * width:
            return lambda deltas: deltas.sum(0)
        last = kept_count(self.config.density, rows * width) - 1
        smallest = [magnitudes(parts, run, [last])[0] for run in runs]

        def elected(deltas: torch.Tensor) -> torch.Tensor:
            kept = deltas * (deltas.abs() >= column(smallest, deltas))
            return agreeing_mean(kept, weights)

        return elected
