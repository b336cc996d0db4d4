"""The two alternating stages of dynamic parameter selection, shared by its dense and its mix form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stages:
    """Stages of `length` steps each: the odd ones collect statistics, the even ones update the selected entries."""

    length: int

    @classmethod
    def of(cls, total_steps: int, update_ratio: float) -> Stages:
        """u = floor(rho T), at least 1 (the reference divides by zero when the product is below 1)."""
        return cls(max(1, int(total_steps * update_ratio)))

    def index(self, step: int) -> int:
        """c = ceil(t / u), with steps counted from 1."""
        return -(-step // self.length)

    def collects(self, step: int) -> bool:
        """True in stage I."""
        return self.index(step) % 2 == 1
