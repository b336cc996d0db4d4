"""Bootstrap over examples, and over seeds and examples jointly, for all models of a set at once.

An example is resampled once for all models, so every difference between two of them is paired. A model is given
by its parts, numbers a row whose sums determine the score (whether it is right; its cell of the confusion
matrix), so a resample costs a column of a matrix product. Memory is bounded by `_CHUNK`, whatever the resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ftbench.statistics.intervals import percentile_interval, two_sided_p

Values = NDArray[np.float64]
# counts held at a time: 32 MB in double precision
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Difference:
    """The difference of two means with its bootstrap interval and p; null where more than 5 % of resamples are
    undefined."""

    difference: float
    interval: tuple[float, float] | None
    p_value: float | None


def example_counts(rows: int, generator: np.random.Generator, resamples: int, width: int = 1) -> Iterator[Values]:
    """How often each row was drawn, (rows, some resamples) at a time; columns add up to `rows`. `width` numbers
    are going to be held for each resample."""
    size = max(1, min(resamples, _CHUNK // max(1, rows, width)))
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        # the row number and its resample in one number: one pass of counting fills the whole matrix
        drawn = generator.integers(0, rows, size=(count, rows), dtype=np.int64) * count + np.arange(count)[:, None]
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(rows, count).astype(np.float64)


def resampled_scores(
    parts: NDArray[Any], score: Callable[[Values], Values], generator: np.random.Generator, resamples: int
) -> Values:
    """Scores on resampled rows, the same rows for every model: (models, resamples).

    parts: (models, rows, quantities); `score` turns sums over rows (models, some resamples, quantities) into
    scores (models, some resamples). Whole numbers of one byte are added in single precision, which is exact for
    them, everything else in double.
    """
    models, rows, quantities = parts.shape
    kind = np.float32 if parts.dtype == np.uint8 else np.float64
    flat = np.ascontiguousarray(parts.transpose(0, 2, 1), dtype=kind).reshape(models * quantities, rows)
    result = np.empty((models, resamples))
    start = 0
    for counts in example_counts(rows, generator, resamples, models * quantities):
        stop = start + counts.shape[1]
        sums = (flat @ counts.astype(kind)).reshape(models, quantities, -1).transpose(0, 2, 1)
        result[:, start:stop] = score(sums.astype(np.float64))
        start = stop
    return result


def seed_shares(seeds: int, generator: np.random.Generator, resamples: int) -> Values:
    """The share that each seed has in resamples of the seeds: (seeds, resamples), columns add up to 1."""
    drawn = generator.integers(0, seeds, size=(resamples, seeds)) + seeds * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=seeds * resamples).reshape(resamples, seeds)
    return np.ascontiguousarray(counts.T) / seeds


def over_seeds(scores: Values, shares: Values) -> Values:
    """Means over resampled seeds of scores on resampled examples, both (seeds, resamples): (resamples,). Seed and
    example are crossed: every seed is scored on the same examples."""
    return np.asarray(np.einsum("sr,sr->r", scores, shares))


def paired_difference(first: Values, second: Values, observed: float) -> Difference:
    """Interval and p from two paired bootstrap distributions (resamples,); `observed` is the difference itself."""
    distribution = first - second
    return Difference(observed, percentile_interval(distribution), two_sided_p(distribution))
