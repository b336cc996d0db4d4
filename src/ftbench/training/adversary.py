"""The adversarial term of SMART as the released code computes it (namisan/mt-dnn @ 3228e7c).

It differs from the paper's rule and stands here for parity; method `smart` uses it with `form: release`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SMALLEST = 1e-6  # the released `epsilon`, added to divisors
LOGIT_SHIFT = 1e-6  # of probabilities, where the released code takes their logits back


def released_objective(moved: torch.Tensor, clean: torch.Tensor, kind: str) -> torch.Tensor:
    """What the inner step climbs: sum of 2 p (a(p) - a(q)), p of the perturbed and q of the clean logits.

    a(s) = -log(1/(s + 1e-6) - 1 + 1e-6) is taken as a constant, so the gradient flows through the factor p alone.
    """
    from torch.nn import functional

    if kind == "regression":
        return (moved - clean.detach()).square().sum()
    first, second = moved.softmax(-1), functional.softmax(clean.detach(), -1)

    def raised(share: torch.Tensor) -> torch.Tensor:
        return -(1 / (share.detach() + LOGIT_SHIFT) - 1 + LOGIT_SHIFT).log()

    return (2 * first * (raised(first) - raised(second))).sum()


def released_step(noise: torch.Tensor, gradient: torch.Tensor, step_size: float) -> torch.Tensor:
    """One inner step: the sum divided by its largest entry of each token, and not scaled back to any bound."""
    moved = noise + step_size * gradient
    return moved / (moved.abs().amax(-1, keepdim=True) + SMALLEST)


def released_distance(clean: torch.Tensor, moved: torch.Tensor, kind: str) -> torch.Tensor:
    """The outer term: both directions of KL, batch means, each with its target distribution detached."""
    from torch.nn import functional

    if kind == "regression":
        return (moved - clean).square().sum(-1).mean()
    first, second = clean.log_softmax(-1), moved.log_softmax(-1)
    forward = functional.kl_div(second, first.exp().detach(), reduction="batchmean")
    backward = functional.kl_div(first, second.exp().detach(), reduction="batchmean")
    return forward + backward
