"""Breadcrumbs: drop the largest and the smallest entries of each task vector and sum what lies between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from ftbench.soups.vectors import VectorConfig, VectorRecipe

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts
    from ftbench.merging.task_vectors import Combine


class Breadcrumbs(VectorRecipe):
    """All candidates."""

    name = "breadcrumbs"
    summary = "task vectors without their largest and smallest entries, summed"
    paper = "Davari and Belilovsky (2024), Model breadcrumbs"
    reference_code = "arcee-ai/mergekit 0.1.5, breadcrumbs"
    formula = "keep ranks of |T| in [gamma n, (gamma + rho) n), largest first; theta_0 + lambda sum_i w_i T_i"
    deviations = ("at least one entry of a tensor is kept, and entries tied with a border are kept too",)

    class Config(VectorConfig):
        top: float = Field(0.01, ge=0, lt=1, description="gamma, the share of largest entries that is dropped")
        density: float = Field(0.9, gt=0, le=1, description="rho, the share that is kept")

        @model_validator(mode="after")
        def _shares(self) -> Self:
            if self.top + self.density > 1:
                raise ValueError("`top` and `density` that sum to at most 1")
            return self

    def combine(self, parts: Parts, runs: Sequence[str], weights: Sequence[float]) -> Combine:
        from ftbench.merging.streaming import matrix_shape
        from ftbench.merging.task_vectors import column, kept_count, magnitudes, total

        rows, width = matrix_shape(parts.initial())
        entries = rows * width
        if not entries:
            return lambda deltas: deltas.sum(0)
        first = min(int(self.config.top * entries), entries - 1)
        last = min(first + kept_count(self.config.density, entries), entries) - 1
        borders = [magnitudes(parts, run, [first, last]) for run in runs]

        def between(deltas: torch.Tensor) -> torch.Tensor:
            size = deltas.abs()
            largest, smallest = (column(values, deltas) for values in zip(*borders, strict=True))
            return total(deltas * ((size <= largest) & (size >= smallest)), weights)

        return between
