"""The same sums every time on a GPU: a resumed run has to equal one that was never stopped.

Torch's attention kernels keep an order of summation only where an operation without such a kernel is an error. No model
that is known here has one; a run of one that does goes on, and says what it lost.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ftbench.training.job import Job

_NO_KERNEL = "does not have a deterministic implementation"  # of torch's error


def deterministic(place: torch.device) -> None:
    """Ask for kernels that add up in one order, and for an error where there is none; the processor has no others."""
    import torch

    if place.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def lacks_kernel(error: RuntimeError) -> bool:
    """Whether torch refused an operation because its sums may differ from run to run."""
    return _NO_KERNEL in str(error)


def accept_any_order(job: Job, error: RuntimeError) -> None:
    """Let the operation be from here on; the step that met it has to be done again."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    operation = str(error).partition(_NO_KERNEL)[0].strip()
    job.say(
        f"{operation} adds up in any order on this GPU: repeated or resumed, this run may differ in its last digits"
    )
