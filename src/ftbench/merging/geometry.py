"""Where models lie to each other: inner products of task vectors, streamed, and lines between two models.

Used by recipes that look at angles and by the stage that follows paths. Memory holds stretches of tensors only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ftbench.merging.source import Source
from ftbench.merging.streaming import STRETCH

if TYPE_CHECKING:
    import torch


def inner_products(vectors: Sequence[torch.Tensor], origin: torch.Tensor | None = None) -> torch.Tensor:
    """Gram matrix (k, k) in float64 of k tensors of one shape, each minus `origin`."""
    import torch

    flat = [vector.reshape(-1) for vector in vectors]
    before = None if origin is None else origin.reshape(-1)
    products = torch.zeros(len(flat), len(flat), dtype=torch.float64)
    for begin in range(0, flat[0].numel(), STRETCH):
        end = begin + STRETCH
        stretch = torch.stack([vector[begin:end].double() for vector in flat])
        if before is not None:
            stretch -= before[begin:end].double()
        products += stretch @ stretch.T
    return products


def gram_of(sources: Mapping[str, Source], origin: Source | None = None) -> torch.Tensor:
    """Gram matrix of whole models: the sum over their floating-point tensors; rows in the order of `sources`."""
    import torch

    names = _float_names(next(iter(sources.values())))
    products = torch.zeros(len(sources), len(sources), dtype=torch.float64)
    for name in names:
        products += inner_products(
            [source.tensor(name) for source in sources.values()], None if origin is None else origin.tensor(name)
        )
    return products


def dot(first: torch.Tensor, second: torch.Tensor) -> float:
    """The inner product of two tensors of one shape, in float64; copies stretches only."""
    import torch

    one, other, found = first.reshape(-1), second.reshape(-1), 0.0
    for begin in range(0, one.numel(), STRETCH):
        end = begin + STRETCH
        found += float(torch.dot(one[begin:end].double(), other[begin:end].double()))
    return found


def _float_names(source: Source) -> Iterable[str]:
    return (name for name, (_, kind) in sorted(source.layout.items()) if kind in ("F64", "F32", "F16", "BF16"))


def cosine(products: torch.Tensor, first: int, second: int) -> float | None:
    """The cosine between two vectors of a Gram matrix; None where one of them is zero."""
    length = float((products[first, first] * products[second, second]).sqrt())
    return float(products[first, second]) / length if length > 0 else None


def distance(products: torch.Tensor, first: int, second: int) -> float:
    """The Euclidean distance between two vectors of a Gram matrix."""
    squared = float(products[first, first] + products[second, second] - 2 * products[first, second])
    return math.sqrt(max(squared, 0.0))


def barrier(values: Sequence[float], positions: Sequence[float]) -> float:
    """How far a path rises above the straight line between its ends, at most; 0 where it nowhere does.

    `values` are losses (or errors) at `positions` from 0 to 1, ends included (Frankle et al. 2020; Entezari et al.
    2022 for the line between the ends).
    """
    first, last = values[0], values[-1]
    rises = (value - ((1 - at) * first + at * last) for value, at in zip(values, positions, strict=True))
    return max(0.0, *rises)
