"""Passes at another point than the present weights: what methods share that look ahead within a step.

The weights are kept as copies and put back bit for bit; adding a displacement and taking it off again would not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ftbench.training.method import Method


@contextmanager
def put_back(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """Whatever the body does to the values of `parameters`, they are afterwards what they were before."""
    import torch

    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)


def moved_by_others(name: str, others: Sequence[type[Method]]) -> list[str]:
    """Reasons against companions of the method `name` that put effective weights in place during the passes."""
    from ftbench.training.method import Method

    return [
        f"`{name}` with `{other.name}`, which both move the weights for the passes of a step; expected one of them"
        for other in others
        if other.begin_passes is not Method.begin_passes
    ]
