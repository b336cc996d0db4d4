"""How far two predictions of the same rows lie apart, for methods that ask a model to agree with itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def disagreement(first: torch.Tensor, second: torch.Tensor, kind: str) -> torch.Tensor:
    """KL(p||q) + KL(q||p) of each row from logits (rows, labels), in fp32; the squared difference in a regression.

    The gradient flows through both sides. Written as sum (p - q)(log p - log q), it is never below zero.
    """
    from torch.nn import functional

    first, second = first.float(), second.float()
    if kind == "regression":
        return (first - second).square().sum(-1)
    one, other = functional.log_softmax(first, -1), functional.log_softmax(second, -1)
    return ((one.exp() - other.exp()) * (one - other)).sum(-1)
