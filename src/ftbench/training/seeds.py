"""Random streams of a run, derived from its seed and from nothing else.

Every stream is a function of (seed, purpose, counter), never of what was drawn before: two methods with the
same seed see the same head, order and dropout, a method that draws noise shifts no other stream, and a
resumed run needs no stored generator state beyond its step.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derived(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose; different purposes give independent streams."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(derived(seed, *purpose))


def torch_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator; draws are moved to the device, so that they do not depend on it."""
    import torch

    return torch.Generator().manual_seed(derived(seed, *purpose))


def seed_dropout(seed: int, phase: int, step: int, micro_batch: int = 0) -> None:
    """Start the dropout stream of a micro-batch, on every device; passes after each call have the same masks."""
    import torch

    within = (micro_batch,) if micro_batch else ()
    torch.manual_seed(derived(seed, "dropout", phase, step, *within))
