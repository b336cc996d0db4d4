"""Tests without a model of the noise: flipping signs of paired differences, and McNemar on examples.

Both are exact where that is cheap. The stage `compare` calls them beside the paired t-test.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# 2^16 sign patterns are enumerated; beyond that they are drawn
MOST_EXACT = 16
_ROUNDING = 1e-12


def sign_flip_p(
    differences: NDArray[np.float64], generator: np.random.Generator, resamples: int = 10_000
) -> float | None:
    """Two-sided p of the mean of paired differences (pairs,) under random signs; null without pairs.

    Exact up to 16 pairs: the share of the 2^pairs sign patterns whose mean is at least as far from zero. Beyond,
    (1 + #{as far}) / (1 + resamples). With n pairs the smallest p is 2^(1 - n): five seeds cannot reach 5 %.
    """
    count = len(differences)
    if count == 0:
        return None
    if count <= MOST_EXACT:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        signs = 1.0 - 2.0 * patterns
    else:
        signs = generator.choice(np.array([-1.0, 1.0]), size=(resamples, count))
    observed = abs(float(differences.sum()))
    slack = _ROUNDING * float(np.abs(differences).sum())
    far = int((np.abs(signs @ differences) >= observed - slack).sum())
    return far / len(signs) if count <= MOST_EXACT else (1 + far) / (1 + resamples)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """McNemar's exact test: two-sided binomial p of `only_first` out of the disagreeing examples at 1/2."""
    from scipy.special import bdtr

    disagreeing = only_first + only_second
    if disagreeing == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), disagreeing, 0.5)))


def mcnemar_over_seeds(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Examples on which more seeds of the first are right, the same for the second, and McNemar's p of these.

    first, second: (seeds, examples), whether the example is right. With one seed it is McNemar's test; with more,
    an exact sign test over examples. It asks whether these models differ on other examples, and says nothing
    about other seeds.
    """
    leading = first.sum(axis=0, dtype=np.int64) - second.sum(axis=0, dtype=np.int64)
    ahead, behind = int((leading > 0).sum()), int((leading < 0).sum())
    return ahead, behind, mcnemar_p(ahead, behind)
