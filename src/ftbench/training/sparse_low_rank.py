"""A low-rank sum with a few free entries beside a frozen matrix, and where those entries go.

The places come from a greedy split of the pretrained matrix into a low-rank and a sparse part. Used by `dsee`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

THRESHOLD = 0.01  # entries of the sparse part below this are zero
FIRST_RANK, MORE_RANK, SWEEPS = 1, 5, 2


class SparseLowRank(nn.Module):
    """s (B A + S) x: A (rank, inputs) from N(0, 0.02), B (outputs, rank) zero, S with `count` free entries, zero."""

    def __init__(self, inputs: int, outputs: int, rank: int, count: int, scale: float) -> None:
        super().__init__()
        self.inputs, self.scale = inputs, scale
        self.down = nn.Parameter(torch.randn(rank, inputs) * 0.02)
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.values = nn.Parameter(torch.zeros(count))
        self.register_buffer("places", torch.zeros(count, dtype=torch.int64))  # row * inputs + column

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = self.get_buffer("places")
        low = nn.functional.linear(nn.functional.linear(x, self.down), self.up)
        rows = torch.div(places, self.inputs, rounding_mode="floor")
        sparse = x[..., places % self.inputs] * self.values
        return self.scale * low.index_add(-1, rows, sparse.to(low.dtype))

    def matrix(self) -> torch.Tensor:
        """s (B A + S), (outputs, inputs), without gradients."""
        whole = (self.up.detach() @ self.down.detach()).reshape(-1)
        whole = whole.index_add(0, self.get_buffer("places"), self.values.detach())
        return self.scale * whole.reshape(len(self.up), self.inputs)


def oriented(linear: nn.Module) -> torch.Tensor:
    """The weight of a linear layer as (outputs, inputs); a view where the layer stores it transposed."""
    weight: torch.Tensor = linear.weight.detach()  # type: ignore[operator]
    return weight if isinstance(linear, nn.Linear) else weight.T


def _beside(module: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
    update = getattr(module, "update", None)
    if update is None:  # folded into the weight
        return None
    found: torch.Tensor = output + update(arguments[0])
    return found


def add_update(linear: nn.Module, rank: int, count: int, scale: float) -> None:
    """Put a `SparseLowRank` beside a linear layer, as its child `update`."""
    outputs, inputs = oriented(linear).shape
    linear.add_module("update", SparseLowRank(inputs, outputs, rank, min(count, outputs * inputs), scale))
    linear.register_forward_hook(_beside)


def fold_update(linear: nn.Module) -> None:
    """W <- W + s (B A + S), and nothing beside it any more."""
    update: SparseLowRank = linear.get_submodule("update")  # type: ignore[assignment]
    oriented(linear).add_(update.matrix())
    del linear.update


def sparse_places(weight: torch.Tensor, count: int, rounds: int, generator: torch.Generator) -> torch.Tensor:
    """Flat positions of the `count` largest entries of the sparse part of a matrix (outputs, inputs).

    Greedy split W = U V + S + rest: in each round, twice U = orth((W - S) V^T), V = U^T (W - S), S = W - U V with
    small entries set to zero; then the first rows of R of the QR decomposition of the rest extend V. A low-rank part
    as large as the matrix would leave S empty; the last sparse part with enough entries counts.
    """
    weight = weight.float()
    right = torch.randn(FIRST_RANK, weight.shape[1], generator=generator).to(weight.device)
    sparse = torch.zeros_like(weight)
    best: torch.Tensor | None = None
    for _ in range(rounds):
        for _ in range(SWEEPS):
            left = torch.linalg.qr((weight - sparse) @ right.T).Q
            right = left.T @ (weight - sparse)
            rest = weight - left @ right
            sparse = torch.where(rest.abs() < THRESHOLD, 0.0, rest)
        if best is None:
            best = rest  # nothing above the threshold: the largest of what there is
        if int(sparse.count_nonzero()) < count:
            break
        best = sparse
        if len(right) + MORE_RANK >= min(weight.shape):
            break
        right = torch.cat([right, torch.linalg.qr(rest - sparse).R[:MORE_RANK]])
    assert best is not None
    return best.abs().reshape(-1).topk(count).indices.sort().values


def packed(mask: torch.Tensor) -> torch.Tensor:
    """A boolean mask as bytes, eight entries each, the first in the lowest bit."""
    flat = mask.reshape(-1)
    flat = nn.functional.pad(flat, (0, -len(flat) % 8)).reshape(-1, 8).to(torch.uint8)
    weights = 2 ** torch.arange(8, dtype=torch.uint8, device=flat.device)
    return (flat * weights).sum(1, dtype=torch.int64).to(torch.uint8)


def unpacked(packed_mask: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The boolean mask of `packed` again."""
    bits = torch.arange(8, dtype=torch.uint8, device=packed_mask.device)
    flat = (packed_mask[:, None] >> bits) & 1
    return flat.reshape(-1)[: shape.numel()].bool().reshape(shape)
