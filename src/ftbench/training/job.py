"""What a training is given and what it says happened: the two ends of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftbench.training.batches import BatchSource
from ftbench.training.checkpoint import Checkpoints
from ftbench.training.method import Context, Method
from ftbench.training.processes import Processes

if TYPE_CHECKING:
    import torch


@dataclass
class Job:
    """Everything a training needs. `evaluate` scores the model on the `select` rows, higher is better."""

    context: Context
    methods: Sequence[Method]
    batches: BatchSource
    total_steps: int
    evaluate: Callable[[torch.nn.Module], float] | None = None
    checkpoints: Checkpoints | None = None
    checkpoint_seconds: float = 300.0
    say: Callable[[str], None] = print
    processes: Processes = field(default_factory=Processes)


@dataclass
class Outcome:
    """What a training did. `weights` are those to keep, by the study's rule; None when the loss left the numbers."""

    weights: dict[str, torch.Tensor] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    best_score: float | None = None
    seconds: float = 0.0
    rows: int = 0
    tokens: int = 0
    failed_step: int | None = None
    precision: str = "fp32"
    parts: int = 1  # that each micro-batch was cut into because the device's memory was too small


# what of an outcome a resumed run goes on from
RESUMED = ("log", "scores", "best_step", "best_score", "seconds", "rows", "tokens", "parts")
