"""Selecting the entries of a tensor with the largest scores."""

from __future__ import annotations

import math
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
