"""Weighted averages of checkpoints, tensor by tensor, and the checks that must hold before any averaging."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch


def check_same_layout(files: list[Path]) -> None:
    """All files hold the same names, shapes and types; a refusal names the two files and what differs."""
    from safetensors import safe_open

    first: dict[str, tuple[list[int], str]] | None = None
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            layout = {
                name: (opened.get_slice(name).get_shape(), opened.get_slice(name).get_dtype())
                for name in opened.keys()  # noqa: SIM118, safe_open is no mapping
            }
        first = layout if first is None else first
        differing = sorted(name for name in set(first) | set(layout) if first.get(name) != layout.get(name))
        if differing:
            name = differing[0]
            raise FtbenchError(
                f"{files[0]} and {file} cannot be averaged: tensor `{name}` is {first.get(name)} in the first "
                f"and {layout.get(name)} in the second"
            )


def average(weights: Mapping[Path, float]) -> dict[str, torch.Tensor]:
    """sum_i w_i theta_i, accumulated in float64 and cast once to the files' type.

    Files are read lazily, one tensor at a time. Tensors that are not floating point are taken from the first
    file and must be equal in all.
    """
    import torch
    from safetensors import safe_open

    averaged: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        opened = [stack.enter_context(safe_open(str(file), framework="pt")) for file in weights]
        for name in sorted(opened[0].keys()):
            first = opened[0].get_tensor(name)
            if not first.is_floating_point():
                for file, other in zip(weights, opened, strict=True):
                    if not torch.equal(other.get_tensor(name), first):
                        raise FtbenchError(f"{file}: tensor `{name}` is not floating point and differs from the first")
                averaged[name] = first
                continue
            total = torch.zeros(first.shape, dtype=torch.float64)
            for weight, other in zip(weights.values(), opened, strict=True):
                total.add_(other.get_tensor(name).double(), alpha=weight)
            averaged[name] = total.to(first.dtype)
    return averaged
