"""Many comparisons at once: adjusted p values within a declared family, and the verdict in words.

The stage `compare` calls this on families that the study declares. Whatever has too few pairs of seeds is
neither tested nor counted as a member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

LEVEL = 0.05
# A test on fewer pairs hangs on the normality of a handful of numbers that nobody can check.
FEWEST_PAIRS = 5


class Tested(Protocol):
    """What a comparison has to tell to be judged."""

    @property
    def difference(self) -> float | None: ...

    @property
    def p_value(self) -> float | None: ...

    @property
    def testable(self) -> bool: ...


@dataclass(frozen=True)
class Judged:
    """The place of a comparison in its family: Holm's and Benjamini and Hochberg's p, number of tested members,
    verdict in words."""

    p_adjusted: float | None
    q_value: float | None
    family_size: int
    verdict: str


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: p_(i) becomes max over j <= i of (m - j + 1) p_(j), at most 1.

    Keeps the chance of any false claim in the family at the level, whatever the dependence of the tests.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Step-up adjustment: p_(i) becomes min over j >= i of m p_(j) / j, at most 1.

    Keeps the expected share of false claims among the claims at the level for independent or positively
    dependent tests (Benjamini and Hochberg 1995, Benjamini and Yekutieli 2001).
    """
    adjusted = [0.0] * len(p_values)
    count, lowest = len(p_values), 1.0
    order = sorted(range(count), key=lambda index: p_values[index])
    for rank in range(count, 0, -1):
        index = order[rank - 1]
        lowest = min(lowest, count * p_values[index] / rank)
        adjusted[index] = lowest
    return adjusted


def judge(
    family: Sequence[Tested], higher_is_better: bool, adjustment: str = "holm", level: float = LEVEL
) -> list[Judged]:
    """Adjust a family and put its members in words; `adjustment` (holm or bh) says which p the verdict uses."""
    tested = [index for index, item in enumerate(family) if item.testable]
    p_values = [family[index].p_value or 0.0 for index in tested]
    careful = dict(zip(tested, holm(p_values), strict=True))
    lenient = dict(zip(tested, benjamini_hochberg(p_values), strict=True))
    decisive = {"holm": careful, "bh": lenient}[adjustment]
    return [
        Judged(
            careful.get(index),
            lenient.get(index),
            len(tested),
            verdict(item.difference, decisive.get(index), higher_is_better, level),
        )
        for index, item in enumerate(family)
    ]


def verdict(difference: float | None, p_adjusted: float | None, higher_is_better: bool, level: float = LEVEL) -> str:
    """better, worse, no evidence, or too few seeds where there is no adjusted p."""
    if p_adjusted is None or difference is None:
        return "too few seeds"
    if p_adjusted >= level or difference == 0:
        return "no evidence"
    return "better" if (difference > 0) == higher_is_better else "worse"
