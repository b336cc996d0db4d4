"""One number for several tasks: interquartile mean, its stratified bootstrap, probability of improvement.

Paper: Agarwal et al. (2021), reference rliable 1.2.0. Scores have to be on a common scale before they come here.
Resampling is over runs within each task, so tasks keep their weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ftbench.statistics.effects import probability_of_improvement
from ftbench.statistics.intervals import percentile_interval

Values = NDArray[np.float64]


def interquartile_mean(scores: Values) -> Values:
    """Mean of the middle half of the last axis; floor(n/4) scores are dropped at each end: (..., n) to (...)."""
    count = scores.shape[-1]
    cut = count // 4
    if cut == 0:
        return np.asarray(scores.mean(axis=-1))
    ordered = np.partition(scores, (cut, count - cut - 1), axis=-1)
    return np.asarray(ordered[..., cut : count - cut].mean(axis=-1))


def optimality_gap(scores: Values, target: float = 1.0) -> float:
    """Mean shortfall below `target` over all scores."""
    return float(target - np.minimum(scores, target).mean())


def stratified_indices(runs: Sequence[int], generator: np.random.Generator, resamples: int) -> list[NDArray[np.int64]]:
    """Run numbers drawn with replacement within each task: for every task (resamples, its runs)."""
    return [generator.integers(0, count, size=(resamples, count)) for count in runs]


def stratified_interval(
    tasks: Sequence[Values],
    indices: Sequence[NDArray[np.int64]],
    statistic: Callable[[Values], Values] = interquartile_mean,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of a statistic over all scores; tasks: one (runs,) each, indices from
    `stratified_indices`."""
    drawn = np.concatenate([scores[index] for scores, index in zip(tasks, indices, strict=True)], axis=1)
    return percentile_interval(statistic(drawn), level)


def improvement_over_tasks(first: Sequence[Values], second: Sequence[Values]) -> float:
    """Mean over tasks of P(X > Y) + P(X = Y) / 2; one array of run scores for each task and side."""
    each = [probability_of_improvement(one, other) for one, other in zip(first, second, strict=True)]
    return float(np.mean(each))


def improvement_interval(
    first: Sequence[Values], second: Sequence[Values], generator: np.random.Generator, resamples: int
) -> tuple[float, float] | None:
    """Percentile interval of `improvement_over_tasks` under resampled runs of both sides within each task."""
    drawn = np.zeros(resamples)
    for one, other in zip(first, second, strict=True):
        left = one[generator.integers(0, len(one), size=(resamples, len(one)))][:, :, None]
        right = other[generator.integers(0, len(other), size=(resamples, len(other)))][:, None, :]
        drawn += ((left > right) + 0.5 * (left == right)).mean(axis=(1, 2))
    return percentile_interval(drawn / max(1, len(first)))
