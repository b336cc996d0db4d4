"""The device that tests train on: a GPU where there is one, set up as a run sets it up, else the processor."""

from __future__ import annotations

from ftbench.training.inference import device
from ftbench.training.repeatable import deterministic

PLACE = device()
deterministic(PLACE)
