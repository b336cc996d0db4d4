"""The device that tests train on: a GPU where there is one, set up as a run sets it up, else the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.state import AcceleratorState

from ftbench.training.inference import device
from ftbench.training.repeatable import deterministic

PLACE = device()
deterministic(PLACE)


@contextmanager
def fresh_accelerate() -> Iterator[None]:
    """The library keeps the device and the precision of its first use for the whole process; not those from here."""
    AcceleratorState._reset_state(True)
    try:
        yield
    finally:
        AcceleratorState._reset_state(True)
