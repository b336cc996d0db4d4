"""DARE: drop entries of the task vectors at random and scale the rest up, so that the expected sum stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.soups.vectors import VectorConfig, VectorRecipe

if TYPE_CHECKING:
    import torch

    from ftbench.merging.streaming import Parts
    from ftbench.merging.task_vectors import Combine


class Dare(VectorRecipe):
    """All candidates. The draws depend on seed, run and tensor and on nothing else."""

    name = "dare"
    summary = "task vectors thinned at random and scaled up, then summed or elected as in TIES"
    paper = "Yu et al. (2024), Language models are super Mario"
    reference_code = "yule-BUAA/MergeLM"
    formula = "T_i <- m_i T_i / rho with m_i ~ Bernoulli(rho), then sum_i w_i T_i (or TIES without trimming)"
    deviations = ("scaled by 1/rho as in the paper; mergekit scales back to the tensor's L1 norm",)

    class Config(VectorConfig):
        density: float = Field(0.5, gt=0, le=1, description="rho, the probability of keeping an entry")
        then: Literal["linear", "ties"] = Field("linear", description="how what is left is combined")
        seed: int = Field(0, ge=0, description="seed of the draws")

    def combine(self, parts: Parts, runs: Sequence[str], weights: Sequence[float]) -> Combine:
        import torch

        from ftbench.merging.task_vectors import agreeing_mean, total
        from ftbench.training.seeds import torch_generator

        draws = [torch_generator(self.config.seed, "soup", "dare", run, parts.name) for run in runs]
        density = self.config.density

        def thinned(deltas: torch.Tensor) -> torch.Tensor:
            drawn = torch.stack([torch.rand(deltas.shape[1:], generator=draw) for draw in draws])
            left = deltas * (drawn < density) / density
            return total(left, weights) if self.config.then == "linear" else agreeing_mean(left, weights)

        return thinned

    def told(self, scale: float) -> dict[str, Any]:
        return {**super().told(scale), "rescaled_by": 1 / self.config.density}
