"""Power of the paired t-test over seeds: how many seeds would show a difference, and which one these can show.

Power is P(|T| > t_crit) for T noncentral t with n - 1 degrees of freedom and noncentrality d sqrt(n) / sd, where
sd is the standard deviation of paired differences. An sd from few seeds is rough, and so is what follows from it.
"""

from __future__ import annotations

POWER = 0.8
MOST_SEEDS = 10_000


def power(difference: float, deviation: float, pairs: int, level: float = 0.05) -> float:
    """Chance of a two-sided p below `level` with this many pairs; 0 below two pairs."""
    from scipy.special import nctdtr, stdtrit

    if pairs < 2:
        return 0.0
    if deviation <= 0:
        return 1.0 if difference != 0 else level
    freedom, shift = pairs - 1, abs(difference) / deviation * pairs**0.5
    critical = float(stdtrit(freedom, 1 - level / 2))
    if shift > 37:  # beyond this the noncentral distribution underflows, and the power is 1
        return 1.0
    return float(1 - nctdtr(freedom, shift, critical) + nctdtr(freedom, shift, -critical))


def seeds_needed(difference: float, deviation: float, wanted: float = POWER, level: float = 0.05) -> int | None:
    """Fewest pairs of seeds with at least this power; null where 10,000 do not suffice."""
    low, high = 1, 2
    # power grows with the pairs; doubling stays away from sizes at which the noncentral distribution underflows
    while power(difference, deviation, high, level) < wanted:
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(MOST_SEEDS, 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, deviation, middle, level) >= wanted else (middle, high)
    return high


def detectable_difference(deviation: float, pairs: int, wanted: float = POWER, level: float = 0.05) -> float | None:
    """Smallest difference that this many pairs show with this power; null below two pairs."""
    if pairs < 2 or deviation <= 0:
        return None
    low, high = 0.0, deviation
    while power(high, deviation, pairs, level) < wanted:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, deviation, pairs, level) >= wanted else (middle, high)
    return high
