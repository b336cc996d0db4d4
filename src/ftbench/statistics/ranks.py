"""Mean ranks of methods over several sets, with the difference that counts as one.

Friedman's test and Nemenyi's critical difference as in Demsar (2006): with k methods on N sets two mean ranks
differ if they are at least q sqrt(k (k+1) / (6 N)) apart, q the studentised range at the level over sqrt 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Ranking:
    """Mean ranks (methods,), 1 the best, ties sharing; the critical difference, and Friedman's p.

    The last two are null with fewer than two methods or sets.
    """

    mean_ranks: Values
    critical_difference: float | None
    friedman_p: float | None


def ranking(scores: Values, level: float = 0.05) -> Ranking:
    """Rank methods on each set; scores: (sets, methods), higher is better, complete."""
    from scipy.stats import rankdata

    sets, methods = scores.shape
    ranks = rankdata(-scores, axis=1)
    means = np.asarray(ranks.mean(axis=0))
    if sets < 2 or methods < 2:
        return Ranking(means, None, None)
    return Ranking(means, critical_difference(methods, sets, level), _friedman(ranks))


def critical_difference(methods: int, sets: int, level: float = 0.05) -> float:
    """Nemenyi's critical difference of mean ranks."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - level, methods, np.inf)) / 2**0.5
    return float(quantile * (methods * (methods + 1) / (6 * sets)) ** 0.5)


def _friedman(ranks: Values) -> float:
    """p of Friedman's chi-square with the correction for ties; 1 where all methods tie everywhere."""
    from scipy.special import chdtrc

    sets, methods = ranks.shape
    between = sets * float(((ranks.mean(axis=0) - (methods + 1) / 2) ** 2).sum())
    within = float(((ranks - (methods + 1) / 2) ** 2).sum()) / (sets * (methods - 1))
    return float(chdtrc(methods - 1, between / within)) if within > 0 else 1.0
