"""When the memory of the device is too small for a micro-batch: smaller ones, with the same rows in a step.

The loop calls it around the passes of a step. What a step learns from stays the same; the number of micro-batches
is recorded with the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.training.batches import Batch

if TYPE_CHECKING:
    from ftbench.training.job import Job


def split(batch: Batch, parts: int) -> list[Batch]:
    """The rows of a batch in `parts` batches of nearly equal size, or in as many as it has rows; padding stays."""
    import numpy as np

    if parts == 1:
        return [batch]
    cut = np.array_split(np.arange(len(batch)), min(parts, len(batch)))
    return [
        Batch(
            {name: tensor[part[0] : part[-1] + 1] for name, tensor in batch.inputs.items()},
            None if batch.targets is None else batch.targets[part[0] : part[-1] + 1],
            batch.rows[part],
        )
        for part in cut
    ]


def more_parts(parts: int, largest: int, job: Job, owned: bool, error: RuntimeError) -> int:
    """How many parts each micro-batch gets from now on; an error where `largest`, its rows, leave no choice."""
    import torch

    if owned:  # it may have moved the weights before the memory ran out
        raise FtbenchError(
            f"the device's memory is too small ({error}), and this step cannot be cut: a method computes whole "
            "gradients by itself, or several processes share it. "
            "Raise `training.accumulation`: more and smaller micro-batches, with the same rows in a step."
        ) from error
    if parts >= largest:
        raise FtbenchError(
            f"the device's memory is too small for a single row of up to {job.context.training.max_length} tokens "
            f"({error}). Take a GPU with more memory, a smaller model, or a smaller `training.max_length`."
        ) from error
    job.context.model.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    job.say(f"the device's memory was too small: every micro-batch in {2 * parts} parts from here on")
    return 2 * parts
