"""What it means that an entry is not selected: the three meanings of "frozen" that masking methods share.

`gradient` masks the gradient, and momentum and decay still move the entry. `update` leaves the gradient to the
moments and takes the step back. `hard` masks the gradient and takes the step back: the entry stays bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from ftbench.training.method import Method

Meaning = Literal["gradient", "update", "hard"]
DESCRIPTION = (
    "what unselected means; gradient: masked gradient, momentum and decay still move the entry; "
    "update: the step is taken back, the moments see the full gradient; hard: both, the entry stays"
)


class Frozen:
    """Masks one step after another; holds copies only between `apply` and `settle`."""

    def __init__(self, meaning: Meaning) -> None:
        self.meaning = meaning
        self.held: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def apply(self, parameter: torch.Tensor, mask: torch.Tensor, factor: torch.Tensor | None = None) -> None:
        """At P6 or P7: `mask` is true where the entry is trained, and has the parameter's shape. `factor` is the mask
        in the gradient's type, where the caller has it: products with truths convert them each time."""
        if self.meaning != "update" and parameter.grad is not None:
            parameter.grad.mul_(mask if factor is None else factor)
        if self.meaning != "gradient":
            self.held.append((parameter, mask, parameter.detach().clone()))

    def settle(self) -> None:
        """At P9: take the step back where the masks are false."""
        import torch

        with torch.no_grad():
            for parameter, mask, before in self.held:
                parameter.copy_(torch.where(mask, parameter, before))
        self.held = []


def second_selection(name: str, others: Sequence[type[Method]]) -> list[str]:
    """Reasons for `check`: companions that choose entries as well, so that neither share would be the stated one."""
    return [
        f"`{name}` with `{other.name}`, which chooses the trained entries as well; expected one of them"
        for other in others
        if other.selects_entries
    ]
