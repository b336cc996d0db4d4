"""Intervals from bootstrap distributions: percentile, and BCa, which corrects for bias and skewness.

Called by the other modules of this package with distributions that they drew. Nothing here draws random
numbers except `bootstrap_mean_interval`, which uses the generator it is given.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
# with a larger share of undefined resamples the rest is a biased picture
_MOST_UNDEFINED = 0.05


def percentile_interval(distribution: Values, level: float = 0.95) -> tuple[float, float] | None:
    """The middle `level` of a bootstrap distribution (resamples,), linear between resamples.

    Null without resamples, and where more than 5 % of them are undefined.
    """
    defined = distribution[np.isfinite(distribution)]
    if len(defined) == 0 or len(defined) < (1 - _MOST_UNDEFINED) * len(distribution):
        return None
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def two_sided_p(distribution: Values) -> float | None:
    """p of no difference from a bootstrap distribution of differences (resamples,).

    min(1, 2 (1 + min(#{d <= 0}, #{d >= 0})) / (R + 1)); never zero, because R resamples cannot show that.
    """
    defined = distribution[np.isfinite(distribution)]
    if len(defined) == 0 or len(defined) < (1 - _MOST_UNDEFINED) * len(distribution):
        return None
    fewer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (1 + fewer) / (len(defined) + 1))


def bca_interval(
    estimate: float, distribution: Values, left_out: Values, level: float = 0.95
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated interval (Efron 1987).

    `distribution`: bootstrap values (resamples,); `left_out`: the statistic without each observation in turn
    (observations,). With z0 = Phi^-1(#{d < estimate}/R, ties half) and a = sum u^3 / (6 (sum u^2)^1.5),
    u = mean(left_out) - left_out, the ends are the percentiles Phi(z0 + (z0 + z) / (1 - a (z0 + z))).
    Null where all resamples lie on one side of the estimate or nothing varies.
    """
    from scipy.special import ndtr, ndtri

    below = float(np.mean(distribution < estimate) + np.mean(distribution <= estimate)) / 2
    if not 0 < below < 1:
        return None
    bias = float(ndtri(below))
    spread = left_out.mean() - left_out
    scale = float((spread**2).sum())
    if scale == 0:
        return None
    acceleration = float((spread**3).sum()) / (6 * scale**1.5)
    tail = (1 - level) / 2
    ends = []
    for normal in (float(ndtri(tail)), float(ndtri(1 - tail))):
        moved = bias + normal
        ends.append(100 * float(ndtr(bias + moved / (1 - acceleration * moved))))
    if any(math.isnan(end) for end in ends):
        return None
    low, high = np.percentile(distribution, ends)
    return float(low), float(high)


def bootstrap_mean_interval(
    values: Values, generator: np.random.Generator, resamples: int, level: float = 0.95
) -> tuple[float, float] | None:
    """BCa interval of a mean over observations (observations,); null with fewer than three."""
    count = len(values)
    if count < 3:
        return None
    drawn = values[generator.integers(0, count, size=(resamples, count))].mean(axis=1)
    total = float(values.sum())
    return bca_interval(total / count, drawn, (total - values) / (count - 1), level)
