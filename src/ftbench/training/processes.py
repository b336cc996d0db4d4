"""The processes that train one run together, one a GPU or, on CPUs, one a core group.

Each takes its share of a step's micro-batches and all add their gradients once a step, before scaling is
undone and gradients are clipped; so several processes do what one does with as many micro-batches. The loop
is the only user; the start of the processes is `launch.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Processes:
    """This process among `count`; the first one writes."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Processes:
        """As the environment says (`RANK`, `WORLD_SIZE`); one process where it says nothing."""
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @property
    def first(self) -> bool:
        return self.rank == 0

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum `.grad` over the processes; a gradient that no process has stays None."""
        import torch
        from torch import distributed

        if self.count == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        there = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
        there = there.to(trained[0].device)
        distributed.all_reduce(there, op=distributed.ReduceOp.MAX)
        wanted = [parameter for parameter, some in zip(trained, there.tolist(), strict=True) if some]
        for parameter in wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for kind in {parameter.grad.dtype for parameter in wanted if parameter.grad is not None}:
            found = [p.grad for p in wanted if p.grad is not None and p.grad.dtype == kind]
            together = torch.cat([gradient.reshape(-1) for gradient in found])
            distributed.all_reduce(together)
            parts = torch.split(together, [item.numel() for item in found])
            for gradient, part in zip(found, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def add(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a scalar over the processes."""
        from torch import distributed

        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def total(self, count: int) -> int:
        """The sum of a whole number over the processes."""
        import torch
        from torch import distributed

        if self.count == 1:
            return count
        shared = torch.tensor([count], device=_place())
        distributed.all_reduce(shared)
        return int(shared.item())

    def agree(self, value: float) -> float:
        """The first process's number, in every process: clocks and scores may differ a little."""
        import torch
        from torch import distributed

        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=_place())
        distributed.broadcast(shared, 0)
        return float(shared)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes."""
        import torch
        from torch import distributed

        if self.count == 1:
            return flag
        shared = torch.tensor([int(flag)], device=_place())
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
        return bool(shared.item())


def _place() -> str:
    """Where the backend adds numbers: NCCL only on GPUs."""
    from torch import distributed

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if distributed.get_backend() == "nccl" else "cpu"
