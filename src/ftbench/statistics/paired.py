"""Comparing two methods over seeds that both were trained with, by a paired t-test.

The stage `compare` calls this; it knows scores and seeds, nothing of methods or tables. Adjusting p values and
putting them in words is the business of `statistics/families.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftbench.statistics.families import FEWEST_PAIRS, LEVEL

# Differences of scores that are equal but for rounding: a score is a sum of at most some millions of terms.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Paired:
    """A paired comparison. Means are null while a pair is missing; the difference is over the pairs there
    are.

    `test` is paired_t, sign_flip (all differences equal) or none (fewer than two pairs).
    """

    n_pairs: int
    n_missing: int
    mean: float | None
    baseline_mean: float | None
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    test: str

    @property
    def testable(self) -> bool:
        """Whether there are enough pairs for a verdict."""
        return self.n_pairs >= FEWEST_PAIRS and self.p_value is not None


def compare(scores: Mapping[int, float], baseline: Mapping[int, float], seeds: Iterable[int]) -> Paired:
    """Compare two sets of scores by seed; a seed that either lacks is missing.

    The interval is the 95 % t interval of the mean difference, the p value that of scipy's `ttest_rel`,
    two-sided. Where all differences are equal the t statistic divides by zero: equal to nothing gives p = 1
    and no width; equal to something else gives the exact p of flipping signs, 2^(1 - pairs), and no
    interval.
    """
    wanted = list(seeds)
    paired = [seed for seed in wanted if seed in scores and seed in baseline]
    ours = np.array([scores[seed] for seed in paired], dtype=np.float64)
    theirs = np.array([baseline[seed] for seed in paired], dtype=np.float64)
    pairs, missing = len(paired), len(wanted) - len(paired)
    complete = pairs > 0 and missing == 0
    mean = float(ours.mean()) if complete else None
    baseline_mean = float(theirs.mean()) if complete else None
    if pairs == 0:
        return Paired(pairs, missing, mean, baseline_mean, None, None, None, None, "none")
    differences = ours - theirs
    difference = float(differences.mean())
    if pairs == 1:
        return Paired(pairs, missing, mean, baseline_mean, difference, None, None, None, "none")
    scale = max(1.0, float(np.abs(ours).max()), float(np.abs(theirs).max()))
    if float(np.ptp(differences)) <= _ROUNDING * scale:
        if abs(difference) <= _ROUNDING * scale:
            return Paired(pairs, missing, mean, baseline_mean, 0.0, 0.0, 0.0, 1.0, "sign_flip")
        return Paired(pairs, missing, mean, baseline_mean, difference, None, None, 2.0 ** (1 - pairs), "sign_flip")
    low, high, p_value = _t_test(differences)
    return Paired(pairs, missing, mean, baseline_mean, difference, low, high, p_value, "paired_t")


def _t_test(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    # the plain functions: the distribution objects of scipy.stats cost a hundred times as much a call
    from scipy.special import stdtr, stdtrit

    count = len(differences)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / count**0.5
    reach = float(stdtrit(count - 1, 1 - LEVEL / 2)) * error
    return mean - reach, mean + reach, float(2 * stdtr(count - 1, -abs(mean) / error))
