"""Almost stochastic order: how far the scores of one method are from being better at every quantile.

Paper: del Barrio et al. (2018); Dror et al. (2019); reference: deepsig 1.2.8 of Ulmer et al. (2022). With quantile
functions F^-1 of a and G^-1 of b on a grid, the violation ratio is
eps = sum over F^-1 < G^-1 of (G^-1 - F^-1)^2 / sum of (G^-1 - F^-1)^2, and the bound
eps_min = clip(eps - sigma z / kappa, 0, 1), kappa = sqrt(nm/(n+m)), z the normal quantile at 1 - confidence,
sigma the deviation of kappa (eps* - eps) over bootstraps. Deviation from the reference: correcting for several
comparisons is left to the caller, through `confidence`, because its own correction weakens with their number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
STEP = 0.005
# scores of a side below which quantiles are meaningless
FEWEST_SCORES = 3
STRICT = 0.2


def quantiles(ordered: Values, grid: Values) -> Values:
    """The left-open empirical quantile function: element ceil(n p) - 1 of sorted scores (..., n) at each p."""
    count = ordered.shape[-1]
    index = np.clip(np.ceil(count * grid).astype(np.int64) - 1, 0, count - 1)
    return ordered[..., index]


def violation_ratio(first: Values, second: Values) -> Values:
    """The ratio for scores (..., n) and (..., m), rows paired: 0 where the first is better at every quantile, 1
    where the second is; 0.5 where they are equal. Like the reference it leaves the first grid point out of the
    numerator."""
    grid = np.arange(STEP, 1, STEP)
    gap = quantiles(np.sort(second, axis=-1), grid) - quantiles(np.sort(first, axis=-1), grid)
    squared = gap**2
    above = np.where(gap > 0, squared, 0.0)[..., 1:].sum(axis=-1)
    total = squared.sum(axis=-1)
    return np.where(total > 0, above / np.where(total > 0, total, 1.0), 0.5)


def epsilon_min(
    first: Values,
    second: Values,
    uniform_first: Values,
    uniform_second: Values,
    confidence: float = 0.95,
) -> float | None:
    """The upper bound of the violation ratio of scores (n,) and (m,), from uniform draws (bootstraps, n) and
    (bootstraps, m); null with fewer than three scores on a side. Below 0.2 the first is taken as better."""
    from scipy.special import ndtri

    sizes = len(first), len(second)
    if min(sizes) < FEWEST_SCORES:
        return None
    ratio = float(violation_ratio(first, second))
    kappa = (sizes[0] * sizes[1] / (sizes[0] + sizes[1])) ** 0.5
    drawn = violation_ratio(_through(first, uniform_first), _through(second, uniform_second))
    sigma = float(np.std(kappa * (drawn - ratio)))
    return float(np.clip(ratio - sigma / kappa * float(ndtri(1 - confidence)), 0.0, 1.0))


def _through(scores: Values, uniform: Values) -> Values:
    ordered = np.sort(scores)
    index = np.clip(np.ceil(len(ordered) * uniform).astype(np.int64) - 1, 0, len(ordered) - 1)
    return np.asarray(ordered[index])


def almost_stochastic_order(
    first: Values,
    second: Values,
    generator: np.random.Generator,
    bootstraps: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """eps_min of the first over the second and of the second over the first, on the same draws; null with fewer
    than three scores on a side. Scores have to be such that higher is better.

    Equal lists of scores carry no evidence, and their ratio has no spread to bound it with: both ends are 1.
    """
    if min(len(first), len(second)) < FEWEST_SCORES:
        return None
    if np.array_equal(np.sort(first), np.sort(second)):
        return 1.0, 1.0
    one = generator.random((bootstraps, len(first)))
    other = generator.random((bootstraps, len(second)))
    forward = epsilon_min(first, second, one, other, confidence)
    backward = epsilon_min(second, first, other, one, confidence)
    assert forward is not None
    assert backward is not None
    return forward, backward
