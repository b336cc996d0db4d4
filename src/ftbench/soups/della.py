"""DELLA: drop entries of the task vectors at random, small ones of a row more often than large ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from ftbench.soups.vectors import VectorConfig, VectorRecipe

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts
    from ftbench.merging.task_vectors import Combine


def keep_probabilities(deltas: torch.Tensor, density: float, epsilon: float) -> torch.Tensor:
    """The probability of each entry of (runs, rows, width): it rises with the rank of |T| in its row, evenly from
    density - epsilon for the smallest to density + epsilon for the largest. A row of one entry has `density`."""
    width = deltas.shape[-1]
    if width < 2:
        return deltas.new_full(deltas.shape, density)
    ranks = deltas.abs().argsort(dim=-1, stable=True).argsort(dim=-1).to(deltas.dtype)
    return density - epsilon + 2 * epsilon * ranks / (width - 1)


class Della(VectorRecipe):
    """All candidates. The draws depend on seed, run and tensor and on nothing else."""

    name = "della"
    summary = "task vectors thinned by magnitude at random and scaled up, then elected as in TIES or summed"
    paper = "Deep et al. (2024), DELLA-Merging"
    reference_code = "declare-lab/della"
    formula = "p rises evenly with the rank of |T| in its row from rho-eps to rho+eps; T <- m T / p, m ~ Bernoulli(p)"
    deviations = ("a vector counts as one row",)

    class Config(VectorConfig):
        density: float = Field(0.5, gt=0, lt=1, description="rho, the mean probability of keeping an entry")
        epsilon: float = Field(0.15, ge=0, lt=0.5, description="half the range of the probabilities")
        then: Literal["linear", "ties"] = Field("ties", description="how what is left is combined")
        seed: int = Field(0, ge=0, description="seed of the draws")

        @model_validator(mode="after")
        def _probabilities(self) -> Self:
            if not 0 < self.density - self.epsilon <= self.density + self.epsilon < 1:
                raise ValueError("`density` minus and plus `epsilon` between 0 and 1")
            return self

    def combine(self, parts: Parts, runs: Sequence[str], weights: Sequence[float]) -> Combine:
        import torch

        from ftbench.merging.task_vectors import agreeing_mean, total
        from ftbench.training.seeds import torch_generator

        draws = [torch_generator(self.config.seed, "soup", "della", run, parts.name) for run in runs]

        def thinned(deltas: torch.Tensor) -> torch.Tensor:
            drawn = torch.stack([torch.rand(deltas.shape[1:], generator=draw) for draw in draws])
            probability = keep_probabilities(deltas, self.config.density, self.config.epsilon)
            left = deltas * (drawn < probability) / probability
            return total(left, weights) if self.config.then == "linear" else agreeing_mean(left, weights)

        return thinned
