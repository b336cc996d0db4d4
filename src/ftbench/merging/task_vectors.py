"""Task vectors T_i = theta_i - theta_0 and what merging methods do to them, stretch by stretch of each tensor.

Called by the recipes that merge task vectors. `merged` adds what a recipe makes of the stretches to the start;
thresholds that need the whole tensor are found beforehand, with one copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.merging.streaming import Parts, as_matrix

if TYPE_CHECKING:
    import torch

# from the task vectors (runs, rows, width) of a stretch, in the order of the runs, to what is added (rows, width)
Combine = Callable[["torch.Tensor"], "torch.Tensor"]


def merged(parts: Parts, runs: Sequence[str], combine: Combine, scale: float) -> torch.Tensor:
    """theta_0 + scale * combine(T_1..T_k), cast once."""
    import torch

    start = parts.initial()
    found = torch.empty_like(start, memory_format=torch.contiguous_format)
    out, initial = as_matrix(found), as_matrix(start)
    matrices = [as_matrix(parts.of(run)) for run in runs]
    for rows in parts.blocks():
        before = initial[rows].to(parts.accumulate)
        deltas = torch.stack([matrix[rows].to(parts.accumulate) - before for matrix in matrices])
        if not torch.isfinite(deltas.sum()):  # trimming could drop what is no number without a word
            bad = [run for run, delta in zip(runs, deltas, strict=True) if not torch.isfinite(delta.sum())]
            raise FtbenchError(f"found NaN or infinity in tensor `{parts.name}` of {', '.join(bad)}; leave it out")
        out[rows] = before + scale * combine(deltas)
    return found


def magnitudes(parts: Parts, run: str, ranks: Sequence[int]) -> list[float]:
    """|T| of a run at the given ranks among all entries of the tensor, rank 0 the largest."""
    delta = (parts.of(run).to(parts.accumulate) - parts.initial().to(parts.accumulate)).abs_().reshape(-1).numpy()
    places = [delta.size - 1 - rank for rank in ranks]
    delta.partition(sorted(set(places)))  # in place: a sorted copy would be as large again
    return [float(delta[place]) for place in places]


def kept_count(share: float, entries: int) -> int:
    """How many entries a share keeps: int(share * n), and one at least, or a small tensor would lose its change."""
    return min(entries, max(1, int(share * entries)))


def column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """Numbers of the runs in the shape (runs, 1, 1)."""
    import torch

    return torch.tensor(values, dtype=like.dtype).reshape(-1, 1, 1)


def total(deltas: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """sum_i w_i T_i."""
    import torch

    summed: torch.Tensor = torch.tensordot(torch.tensor(weights, dtype=deltas.dtype), deltas, dims=1)
    return summed


def agreeing_mean(deltas: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """TIES' disjoint mean: entries whose sign is that of sum_i w_i T_i, weighted, over the sum of their weights.

    A sum of zero counts as positive. Entries of zero agree with nothing and stay out of the denominator; where
    nobody agrees the result is zero.
    """
    import torch

    elected = torch.where(total(deltas, weights) >= 0, 1.0, -1.0).to(deltas.dtype)
    agree = (deltas.sign() == elected).to(deltas.dtype) * column(weights, deltas)
    numerator, denominator = (agree * deltas).sum(0), agree.sum(0)
    return torch.div(numerator, torch.where(denominator > 0, denominator, torch.ones_like(denominator)))
