"""What was lost and gained of a prior task, row by row: damage, forgetting, transfer.

With right before r and right now s: damage is r and not s, transfer is s and not r, so that the change of the share
of right rows is transfer - damage. Damage as Bai et al. (2025) define it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Damage:
    """Shares of `n` rows; `forget_rate` is the damage as a share of the rows that were right before."""

    n: int
    before: float
    after: float
    collateral_damage: float
    forget_rate: float | None
    positive_transfer: float


def damage(before: ArrayLike, after: ArrayLike) -> Damage:
    """Compare which rows were right before with which are right now, both (rows,), at least one row."""
    import numpy as np

    was, now = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if len(was) != len(now) or len(was) == 0:
        raise ValueError(f"found {len(was)} rows before and {len(now)} now; expected the same rows, at least one")
    lost, gained, right = int((was & ~now).sum()), int((~was & now).sum()), int(was.sum())
    return Damage(
        len(was), right / len(was), int(now.sum()) / len(was), lost / len(was), lost / right if right else None,
        gained / len(was),
    )  # fmt: skip
