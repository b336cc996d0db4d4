"""Dividing the rows of a prior task into bins by what the model knew of them before fine-tuning.

Rehearsal draws from such bins and the tables of forgetting count in them; both take the division from here.
Needs numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

Scheme = Literal["loss", "aux", "loss_x_aux", "cluster", "none"]
LOSS_BINS = 10  # of the column `loss_bin`, and of the scheme `loss` unless told otherwise


@dataclass(frozen=True)
class Partition:
    """A division of rows: `index` (rows,) leads into `names`; no bin is empty."""

    names: tuple[str, ...]
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def members(self) -> list[NDArray[np.int64]]:
        """The rows of each bin, ascending."""
        import numpy as np

        order = np.argsort(self.index, kind="stable")
        return list(np.split(order, np.cumsum(np.bincount(self.index, minlength=len(self)))[:-1]))


def quantile_edges(losses: ArrayLike, bins: int) -> NDArray[np.float64]:
    """Inner edges of `bins` bins with equal numbers of rows; fewer where many losses are equal."""
    import numpy as np

    edges = np.quantile(np.asarray(losses, dtype=np.float64), np.arange(1, bins) / bins)
    return np.unique(edges)


def bin_numbers(losses: ArrayLike, edges: ArrayLike) -> NDArray[np.int64]:
    """The bin of each loss, from 0 for the lowest; a loss on an edge belongs to the bin above it."""
    import numpy as np

    return np.searchsorted(np.asarray(edges), np.asarray(losses, dtype=np.float64), side="right").astype(np.int64)


def partition(
    scheme: Scheme,
    losses: ArrayLike,
    aux: Sequence[str] | None = None,
    clusters: ArrayLike | None = None,
    bins: int | None = None,
    smallest: int = 50,
) -> Partition:
    """Divide rows by prior loss, by an auxiliary value, by both, by cluster, or not at all.

    losses: (rows,); aux: (rows,) values; clusters: (rows,) numbers. `bins` is the number of loss bins, 10 for
    `loss` and 5 for `loss_x_aux` unless given. Cells of `loss_x_aux` with fewer than `smallest` rows join the
    next loss bin of the same value. Raises `FtbenchError` where the scheme needs what is not there.
    """
    import numpy as np

    values = np.asarray(losses, dtype=np.float64)
    if scheme == "none":
        return Partition(("all",), np.zeros(len(values), dtype=np.int64))
    if scheme == "cluster":
        if clusters is None:
            raise FtbenchError("bins `cluster`: found no clusters of the pool. Set `prior.clusters` in the study.")
        return _named([f"cluster {number}" for number in np.asarray(clusters)])
    if scheme == "loss":
        numbers = bin_numbers(values, quantile_edges(values, bins or LOSS_BINS))
        return _named([f"loss {number:02d}" for number in numbers])
    if aux is None:
        raise FtbenchError(f"bins `{scheme}`: found no auxiliary value of the pool's rows. Name one under `aux`.")
    if scheme == "aux":
        return _named(list(aux))
    numbers = bin_numbers(values, quantile_edges(values, bins or 5))
    names = np.array([""] * len(values), dtype=object)
    for value in sorted(set(aux)):
        rows = np.flatnonzero(np.asarray(aux, dtype=object) == value)
        for row, cell in zip(rows, _merged(numbers[rows], smallest), strict=True):
            names[row] = f"{value}, loss {cell:02d}"
    return _named(list(names))


def _merged(numbers: NDArray[np.int64], smallest: int) -> NDArray[np.int64]:
    """Loss bins of one value, small ones joined to the next; a small last one joins the one before it."""
    import numpy as np

    merged = numbers.copy()
    present = list(np.unique(merged))
    for position, number in enumerate(present[:-1]):
        if np.count_nonzero(merged == number) < smallest:
            merged[merged == number] = present[position + 1]
    left = np.unique(merged)
    if len(left) > 1 and np.count_nonzero(merged == left[-1]) < smallest:
        merged[merged == left[-1]] = left[-2]
    return merged


def _named(labels: Sequence[str]) -> Partition:
    import numpy as np

    names, index = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return Partition(tuple(str(name) for name in names), index.astype(np.int64))
