"""Which rows make up which step, and how they become tensors.

Batches hold rows of similar length and are padded to their own longest row. The order of an epoch depends on
the order seed and the epoch alone, so any step's rows can be computed without the steps before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ftbench.training.processes import Processes
from ftbench.training.seeds import numpy_generator

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ftbench.training.examples import Encoded

POOL = 50  # batches' worth of shuffled rows that are sorted by length together, at most
POOLS = 2  # pools an epoch is made of, at least: a small set sorted as a whole would have the same batches every time


@dataclass(frozen=True)
class Batch:
    """Model inputs (rows, tokens), targets (rows,), and the indices of the rows in the training set."""

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor | None
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


class BatchSource(Protocol):
    """What the loop asks for batches."""

    steps_per_epoch: int

    def step(self, number: int) -> list[Batch]:
        """The micro-batches of optimiser step `number`, counted from 1: those that are this process's share."""

    def epoch(self) -> Iterable[Batch]:
        """One pass over all rows in the order of the first epoch."""


def padding_multiple(device: torch.device) -> int:
    """What the length of a batch is rounded up to: the matrix units of a GPU take multiples of eight."""
    return 8 if device.type == "cuda" else 1


def collate(data: Encoded, rows: np.ndarray, device: torch.device | str, multiple: int | None = None) -> Batch:
    """Pad the given rows to their longest and move them to the device; lengths are rounded up to `multiple` (null: what
    suits the device) unless that is longer than rows may be."""
    import numpy as np
    import torch

    multiple = multiple or padding_multiple(torch.device(device))
    longest = int(data.lengths[rows].max())
    rounded = -(-longest // multiple) * multiple
    longest = rounded if data.longest is None else max(longest, min(rounded, data.longest))
    ids = np.full((len(rows), longest), data.padding_id, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    segments = None if data.segments is None else np.zeros((len(rows), longest), dtype=np.int64)
    for position, row in enumerate(rows):
        length = data.lengths[row]
        ids[position, :length] = data.ids[row]
        mask[position, :length] = 1
        if segments is not None and data.segments is not None:
            segments[position, :length] = data.segments[row]
    arrays = {"input_ids": ids, "attention_mask": mask}
    if segments is not None:
        arrays["token_type_ids"] = segments
    inputs = {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}
    targets = None if data.targets is None else torch.from_numpy(data.targets[rows]).to(device, non_blocking=True)
    return Batch(inputs, targets, rows)


def epoch_order(
    lengths: np.ndarray, batch_size: int, grouping: Literal["length", "none"], seed: int, epoch: int
) -> list[np.ndarray]:
    """The rows of every batch of one epoch; each row occurs exactly once, the last batch may be short."""
    import numpy as np

    generator = numpy_generator(seed, "order", epoch)
    order = generator.permutation(len(lengths))
    if grouping == "length":
        pool = batch_size * max(1, min(POOL, len(lengths) // (batch_size * POOLS)))
        order = np.concatenate(
            [
                chunk[np.argsort(-lengths[chunk], kind="stable")]
                for chunk in np.split(order, range(pool, len(order), pool))
            ]
        )
    batches = np.split(order, range(batch_size, len(order), batch_size))
    if grouping == "length":
        batches = [batches[position] for position in generator.permutation(len(batches))]
    return batches


class EpochBatches:
    """Batches of a tokenised training set, epoch after epoch."""

    def __init__(
        self,
        data: Encoded,
        batch_size: int,
        accumulation: int,
        grouping: Literal["length", "none"],
        seed: int,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.data, self.batch_size, self.accumulation = data, batch_size, accumulation
        self.grouping, self.seed, self.device = grouping, seed, device
        self.steps_per_epoch = -(-len(data) // batch_size)
        self._current: tuple[int, list[np.ndarray]] = (-1, [])

    def _order(self, epoch: int) -> list[np.ndarray]:
        if self._current[0] != epoch:
            self._current = (
                epoch,
                epoch_order(self.data.lengths, self.batch_size, self.grouping, self.seed, epoch),
            )
        return self._current[1]

    def step(self, number: int) -> list[Batch]:
        import numpy as np

        epoch, position = divmod(number - 1, self.steps_per_epoch)
        rows = self._order(epoch)[position]
        parts = np.array_split(rows, min(self.accumulation * self.processes.count, len(rows)))
        return [collate(self.data, part, self.device) for part in parts[self.processes.rank :: self.processes.count]]

    def epoch(self) -> Iterable[Batch]:
        for rows in epoch_order(self.data.lengths, self.batch_size, self.grouping, self.seed, 0):
            yield collate(self.data, rows, self.device)
