"""The trace of a rehearsal: how often each bin was drawn, how often it was damaged, and what was believed of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.data.bins import Partition
    from ftbench.training.rehearsal.samplers import Numbers, Rows, Sampler

ATTEMPTS = 100  # rounds of drawing before a bound on repeats counts as used up


class Trace:
    """Counts since the last written rows, and the written rows (of the table `rehearsal_trace`)."""

    def __init__(self, bins: Partition, every: int) -> None:
        import numpy as np

        self.bins, self.every = bins, every
        self.draws, self.damaged = np.zeros(len(bins)), np.zeros(len(bins))
        self.repeats = np.zeros(len(bins.index), dtype=np.int64)
        self.written: list[dict[str, Any]] = []
        self.rows = self.tokens = 0

    def bounded(
        self, limit: int | None, count: int, draw: Callable[[int], tuple[Rows, Numbers]]
    ) -> tuple[Rows, Numbers]:
        """`count` rows from `draw`, none more than `limit` times in a run; an exhausted pool is an error."""
        import numpy as np

        rows, weights = draw(count)
        if limit is None:
            return rows, weights
        kept: list[tuple[int, float]] = []
        for _ in range(ATTEMPTS):
            for row, weight in zip(rows, weights, strict=True):
                if self.repeats[row] < limit and len(kept) < count:
                    self.repeats[row] += 1
                    kept.append((int(row), float(weight)))
            if len(kept) == count:
                return np.array([row for row, _ in kept]), np.array([weight for _, weight in kept])
            rows, weights = draw(count - len(kept))
        raise FtbenchError(
            f"the rehearsal pool: found too few rows that came less than {limit} times (`max_repeats`). "
            "Raise it, lower `ratio`, or take a larger pool."
        )

    def count(self, rows: Rows, damaged: NDArray[np.bool_]) -> None:
        """Add rows of a step whose gradients were finite."""
        import numpy as np

        index = self.bins.index[rows]
        self.draws += np.bincount(index, minlength=len(self.bins))
        self.damaged += np.bincount(index, weights=damaged.astype(np.float64), minlength=len(self.bins))

    def write(self, step: int, sampler: Sampler, last: bool = False) -> None:
        """Write the bins of this step where its turn has come; at the end, what is left."""
        if (last and not self.draws.any()) or (not last and step % self.every):
            return
        shares, rates = sampler.bin_probabilities(), sampler.rates()
        for number, name in enumerate(self.bins.names):
            self.written.append(
                {
                    "step": step,
                    "bin": name,
                    "draws": int(self.draws[number]),
                    "damaged": int(self.damaged[number]),
                    "alpha_hat": None if rates is None else float(rates[number]),
                    "q": None if shares is None else float(shares[number]),
                }
            )
        self.draws[:] = 0
        self.damaged[:] = 0

    def state(self) -> dict[str, Any]:
        return {
            "draws": self.draws,
            "damaged": self.damaged,
            "repeats": self.repeats,
            "written": list(self.written),
            "rows": self.rows,
            "tokens": self.tokens,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.draws, self.damaged, self.repeats = state["draws"], state["damaged"], state["repeats"]
        self.written, self.rows, self.tokens = list(state["written"]), int(state["rows"]), int(state["tokens"])
