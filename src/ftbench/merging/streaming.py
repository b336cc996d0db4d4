"""Merging opened ingredients one tensor at a time; what a recipe says becomes tensors here.

Sums are kept in float64 (or float32, if asked) for a stretch of a tensor at a time and cast once. Besides the
tensor that comes out, memory holds such stretches only: inputs are views of mapped files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.merging.read_ahead import ReadAhead
from ftbench.merging.source import Source

if TYPE_CHECKING:
    import torch

STRETCH = 1 << 17  # numbers summed at a time: a stretch in float64 stays in a processor's cache


@dataclass(frozen=True)
class Parts:
    """One floating-point tensor in all ingredients, and in the model that they started from where it is known."""

    name: str
    sources: Mapping[str, Source]  # by run id
    start: Source | None
    accumulate: torch.dtype

    def of(self, run_id: str) -> torch.Tensor:
        """The tensor of an ingredient, as stored."""
        return self.sources[run_id].tensor(self.name)

    def initial(self) -> torch.Tensor:
        """The tensor of the common start, as stored."""
        assert self.start is not None, "the recipe did not say `needs_start`"
        return self.start.tensor(self.name)

    def blocks(self) -> Iterator[slice]:
        """Stretches of rows of the tensor (matrix of its first extent by the rest; a vector is one row)."""
        rows, width = matrix_shape(self.of(next(iter(self.sources))))
        step = max(1, STRETCH // max(1, width))
        yield from (slice(begin, min(begin + step, rows)) for begin in range(0, rows, step))


Rule = Callable[[Parts], "torch.Tensor"]  # the merged tensor, of the ingredients' shape and type


def matrix_shape(tensor: torch.Tensor) -> tuple[int, int]:
    """Rows and width of a tensor read as a matrix; vectors and numbers are one row."""
    if tensor.dim() < 2:
        return 1, tensor.numel()
    rows = tensor.shape[0]
    return rows, tensor.numel() // rows if rows else 0


def as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    """A view of a contiguous tensor as such a matrix."""
    return tensor.reshape(matrix_shape(tensor))


def weighted_sum(
    tensors: Sequence[torch.Tensor], weights: Sequence[float], accumulate: torch.dtype | None = None
) -> torch.Tensor:
    """sum_i w_i x_i of tensors of one shape and type, summed in `accumulate` (float64), cast once.

    With one tensor and weight 1 the result is that tensor bit by bit. A result that is not finite is returned as
    it is; callers that want to know ask `finite`.
    """
    import torch

    kind = accumulate or torch.float64
    merged = torch.empty(tensors[0].shape, dtype=tensors[0].dtype)
    out, flat = merged.view(-1), [tensor.reshape(-1) for tensor in tensors]
    total = torch.empty(min(STRETCH, out.numel()), dtype=kind)
    for begin in range(0, out.numel(), STRETCH):
        end = min(begin + STRETCH, out.numel())
        part = total[: end - begin]
        torch.mul(flat[0][begin:end].to(kind), weights[0], out=part)
        for tensor, weight in zip(flat[1:], weights[1:], strict=True):
            part.add_(tensor[begin:end].to(kind), alpha=weight)
        out[begin:end] = part
    return merged


def finite(tensor: torch.Tensor) -> bool:
    """Whether no number of the tensor is NaN or infinite; reads it once and copies nothing."""
    import torch

    flat = tensor.reshape(-1)
    return all(
        math.isfinite(float(flat[begin : begin + STRETCH].sum(dtype=torch.float64)))
        for begin in range(0, flat.numel(), STRETCH)
    )


def mean_rule(weights: Mapping[str, float]) -> Rule:
    """The rule theta = sum_i w_i theta_i."""

    def merged(parts: Parts) -> torch.Tensor:
        return weighted_sum([parts.of(run) for run in weights], list(weights.values()), parts.accumulate)

    return merged


class Merger:
    """Makes the tensors of a merged model; a new one for every rule.

    Tensors that are not floating point come from the first ingredient and must be equal in all.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        rule: Rule,
        start: Source | None = None,
        accumulate: torch.dtype | None = None,
    ) -> None:
        import torch

        self.sources, self.rule, self.start = sources, rule, start
        self.accumulate = accumulate or torch.float64
        self._ahead = ReadAhead()

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], str]]:
        return next(iter(self.sources.values())).layout

    def make(self, name: str) -> torch.Tensor:
        """One merged tensor; NaN or infinity raises an `FtbenchError` that names the ingredient it came from."""
        self._ahead.at(self.sources.values(), name)
        run, source = next(iter(self.sources.items()))
        first = source.tensor(name)
        if not first.is_floating_point():
            self._same_everywhere(name, run, first)
            return first
        merged = self.rule(Parts(name, self.sources, self.start, self.accumulate))
        if not finite(merged):
            bad = next((run for run, source in self.sources.items() if not finite(source.tensor(name))), None)
            whose = f"`{name}` of {bad}" if bad else f"`{name}` of the merged model (its ingredients are finite)"
            raise FtbenchError(f"found NaN or infinity in tensor {whose}; expected finite weights. Leave that run out.")
        return merged

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All merged tensors with their names, in order."""
        yield from ((name, self.make(name)) for name in sorted(self.layout))

    def _same_everywhere(self, name: str, run: str, first: torch.Tensor) -> None:
        import torch

        for other, source in self.sources.items():
            if not torch.equal(source.tensor(name), first):
                raise FtbenchError(
                    f"{run} and {other} cannot be averaged: tensor `{name}` is not floating point and differs"
                )
