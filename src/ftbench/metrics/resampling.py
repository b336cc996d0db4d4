"""Bootstrap samples over examples, drawn for whole arrays at once where the metric allows.

Called by the base classes in `metrics/base.py` and by the stage `score`. All randomness comes from the
generator that is handed in; `generator_for` makes one that depends on nothing but names, so scores are
reproducible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# numbers held at a time: 32 MB in double precision
_CHUNK = 4_000_000


def generator_for(*names: str) -> np.random.Generator:
    """A generator seeded by the names, for example artifact, set and metric."""
    import numpy as np

    return np.random.default_rng(list(hashlib.sha256("\n".join(names).encode()).digest()))


def percentile_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float] | None:
    """The middle `level` of bootstrap scores; null without scores or with more than 5 % of them undefined."""
    import numpy as np

    defined = values[np.isfinite(values)]
    if len(values) == 0 or len(defined) < 0.95 * len(values):
        return None
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def _chunks(resamples: int, width: int) -> Iterator[int]:
    size = max(1, _CHUNK // max(1, width))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def confusion_resamples(
    confusion: NDArray[np.int64],
    score: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    generator: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64]:
    """Scores of resampled confusion matrices: (resamples,).

    Drawing n examples with replacement makes the cells of the matrix multinomial, so no example is touched.
    """
    import numpy as np

    cells = confusion.ravel()
    filled = np.flatnonzero(cells)
    total = int(cells.sum())
    parts = [np.zeros(0)]
    for count in _chunks(resamples, cells.size):
        drawn = np.zeros((count, cells.size), dtype=np.int64)
        drawn[:, filled] = generator.multinomial(total, cells[filled] / total, size=count)
        parts.append(score(drawn.reshape(count, *confusion.shape)))
    return np.concatenate(parts)


def mean_resamples(values: NDArray[np.float64], generator: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Means of bootstrap samples of rows; values: (rows, quantities), result: (resamples, quantities)."""
    import numpy as np

    rows = len(values)
    parts = [np.zeros((0, values.shape[1]))]
    for count in _chunks(resamples, rows):
        drawn = generator.integers(0, rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows)
        parts.append(times @ values / rows)
    return np.concatenate(parts)


def index_resamples(
    rows: int,
    score: Callable[[NDArray[np.int64]], float],
    generator: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64]:
    """Scores of bootstrap samples, one call of `score` with drawn row numbers each: (resamples,)."""
    import numpy as np

    return np.array([score(generator.integers(0, rows, size=rows)) for _ in range(resamples)], dtype=np.float64)
