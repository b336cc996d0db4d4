"""Comparing a method with a baseline over seeds that both were trained with.

The stage `compare` calls this; it knows scores and seeds, nothing of methods or tables. A difference is
tested by a paired t-test, p values are adjusted by Holm's method within a family that the caller declares,
and the result is put in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
# A t-test on fewer pairs hangs on the normality of a handful of numbers that nobody can check.
FEWEST_PAIRS = 5
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


@dataclass(frozen=True)
class Judged:
    """The place of a comparison in its family: adjusted p, number of tested members, verdict in words."""

    p_adjusted: float | None
    family_size: int
    verdict: str


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
    from scipy.stats import t as student

    count = len(differences)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / count**0.5
    reach = float(student.ppf(1 - LEVEL / 2, count - 1)) * error
    return mean - reach, mean + reach, float(2 * student.sf(abs(mean) / error, count - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: p_(i) becomes max over j <= i of (m - j + 1) p_(j), at most 1."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def judge(family: Sequence[Paired], higher_is_better: bool) -> list[Judged]:
    """Adjust a family and put its members in words; those with too few pairs are not tested or counted."""
    tested = [index for index, item in enumerate(family) if item.testable]
    adjusted = dict(zip(tested, holm([family[index].p_value or 0.0 for index in tested]), strict=True))
    return [
        Judged(adjusted.get(index), len(tested), verdict(item.difference, adjusted.get(index), higher_is_better))
        for index, item in enumerate(family)
    ]


def verdict(difference: float | None, p_adjusted: float | None, higher_is_better: bool) -> str:
    """better, worse, no evidence, or too few seeds where there is no adjusted p."""
    if p_adjusted is None or difference is None:
        return "too few seeds"
    if p_adjusted >= LEVEL or difference == 0:
        return "no evidence"
    return "better" if (difference > 0) == higher_is_better else "worse"
