"""Selecting the entries of one tensor, or of several together, with the largest scores.

Selection runs where the scores are, by the k-th value, without a sort.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def kept_entries(entries: int, drop_share: float) -> int:
    """ceil(n (1 - p)): how many of `entries` stay when the share `drop_share` is dropped."""
    return math.ceil(entries * (1 - drop_share))


def largest(scores: torch.Tensor, keep: int) -> torch.Tensor:
    """A boolean mask of `scores`' shape: true from the `keep`-th largest entry upwards, ties included."""
    flat = scores.flatten()
    if keep >= flat.numel():
        return scores.new_ones(scores.shape).bool()
    threshold = flat.kthvalue(flat.numel() - keep + 1).values
    return scores >= threshold


def percentile(scores: torch.Tensor, share: float) -> torch.Tensor:
    """The linearly interpolated `share` quantile of all entries, of any number (torch's own has a limit)."""
    flat = scores.flatten()
    position = (flat.numel() - 1) * share
    low, high = math.floor(position), math.ceil(position)
    lower = flat.kthvalue(low + 1).values
    if high == low:
        return lower
    return lower + (flat.kthvalue(high + 1).values - lower) * (position - low)


def largest_pooled(scores: Mapping[str, torch.Tensor], keep: int) -> dict[str, torch.Tensor]:
    """Boolean masks that are true for exactly `keep` entries of all tensors together, those with the largest scores.
    Of entries equal to the smallest kept score, the first in order stay, so that `keep` is never exceeded."""
    import torch

    pooled = torch.cat([tensor.flatten() for tensor in scores.values()])
    keep = min(keep, pooled.numel())
    kept = torch.zeros_like(pooled, dtype=torch.bool)
    if keep:
        threshold = pooled.kthvalue(pooled.numel() - keep + 1).values
        kept = pooled > threshold
        equal = (pooled == threshold).nonzero().flatten()
        kept[equal[: keep - int(kept.sum())]] = True
    parts = torch.split(kept, [tensor.numel() for tensor in scores.values()])
    return {name: part.reshape(scores[name].shape).clone() for name, part in zip(scores, parts, strict=True)}
