"""How shifted scores follow in-domain ones over the runs of a family: type I, II, III or undetermined.

Types of Yuan et al. (2023, BOSS): I one line with a positive slope; II two segments, both rising, the second steeper;
III first falling, then rising. The paper reads them off charts; the rule here is ours. A line and a continuous pair of
segments are fitted by least squares, the pair is believed where its BIC is lower by more than `BIC_GAIN`, and a slope
has a sign where its bootstrap interval over runs leaves out zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftbench.statistics.intervals import percentile_interval

Values = NDArray[np.float64]
SIDE = 5  # points at or below the knee, and above it
BIC_GAIN = 6.0
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Trend:
    """`slopes` has one slope of a line, two of a pair of segments; `knee` is where these meet. `bic_gain` is BIC of the
    line minus BIC of the segments. `kind` is I, II, III or undetermined, then with a `reason`."""

    kind: str
    n: int
    reason: str | None = None
    slopes: tuple[float, ...] = ()
    intervals: tuple[Interval, ...] = ()
    knee: float | None = None
    bic_gain: float | None = None


def classify(inside: Values, shifted: Values, generator: np.random.Generator, resamples: int = 1000) -> Trend:
    """The trend of points (runs,); `resamples` bootstrap samples of the points give the signs of the slopes."""
    count = len(inside)
    if count < 2 * SIDE:
        return Trend("undetermined", count, f"{count} points; a knee needs {SIDE} on each side")
    if np.ptp(inside) == 0:
        return Trend("undetermined", count, "all runs have one in-domain score")
    scale = float(inside.std())
    across = (inside - inside.mean()) / scale
    whole = np.ones((1, count))
    line, rest = _line(across, shifted, whole)
    knees = np.unique(across)
    knees = knees[[np.sum(across <= knee) >= SIDE and np.sum(across > knee) >= SIDE for knee in knees]]
    weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    gain = None
    if len(knees):
        bent, left, place = _segments(across, shifted, whole, knees)
        floor = 1e-12 * max(float(np.var(shifted)), 1e-12) * count
        gain = float(count * np.log(max(rest[0], floor) / max(left[0], floor)) - 2 * np.log(count))
        if gain > BIC_GAIN:
            drawn = _segments(across, shifted, weights, knees)[0]
            return _two(count, bent[0] / scale, drawn / scale, float(knees[place[0]] * scale + inside.mean()), gain)
    drawn = _line(across, shifted, weights)[0]
    interval = percentile_interval(drawn / scale)
    slope = float(line[0] / scale)
    if interval is not None and interval[0] > 0:
        return Trend("I", count, None, (slope,), (interval,), None, gain)
    reason = (
        "one line, whose slope is negative" if interval and interval[1] < 0 else "one line, whose slope may be zero"
    )
    return Trend("undetermined", count, reason, (slope,), (interval,), None, gain)


def _two(count: int, slopes: Values, drawn: Values, knee: float, gain: float) -> Trend:
    intervals = tuple(percentile_interval(drawn[:, side]) for side in range(2))
    signs = [0 if item is None else int(item[0] > 0) - int(item[1] < 0) for item in intervals]
    first, second = float(slopes[0]), float(slopes[1])
    kind, reason = "undetermined", None
    if signs == [-1, 1]:
        kind = "III"
    elif signs == [1, 1] and second > first:
        kind = "II"
    elif signs == [1, 1]:
        reason = "two segments, the second flatter"
    else:
        reason = "two segments, of which one may be flat" if 0 in signs else "two segments that do not end rising"
    return Trend(kind, count, reason, (first, second), intervals, knee, gain)


def _line(x: Values, y: Values, weights: Values) -> tuple[Values, Values]:
    """Slopes and residual sums of squares (samples,) of weighted lines; weights: (samples, points)."""
    total = weights.sum(axis=1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    spread = weights @ x**2 - total * mean_x**2
    shared = weights @ (x * y) - total * mean_x * mean_y
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 1e-12, shared / spread, np.nan)
    return slope, np.maximum(weights @ y**2 - total * mean_y**2 - slope * shared, 0)


def _segments(x: Values, y: Values, weights: Values, knees: Values) -> tuple[Values, Values, NDArray[np.int64]]:
    """The best continuous pair of segments of each sample: slopes (samples, 2), residual sums of squares and number of
    the knee (samples,). A sample without `SIDE` points on each side of a knee does not bend there."""
    best = np.full(len(weights), np.inf)
    slopes = np.full((len(weights), 2), np.nan)
    chosen = np.zeros(len(weights), dtype=np.int64)
    for number, knee in enumerate(knees):
        columns = np.stack([np.ones_like(x), x, np.maximum(x - knee, 0)])
        products = (weights @ (columns[:, None] * columns[None]).reshape(9, -1).T).reshape(-1, 3, 3)
        right = weights @ (columns * y).T
        above = weights @ (x > knee)
        usable = (above >= SIDE) & (weights.sum(axis=1) - above >= SIDE)
        usable &= np.linalg.det(products) > 1e-9
        if not usable.any():
            continue
        found = np.linalg.solve(products[usable], right[usable][:, :, None])[:, :, 0]
        rest = np.maximum(weights[usable] @ y**2 - (found * right[usable]).sum(axis=1), 0)
        rows = np.flatnonzero(usable)
        better = rest < best[rows]
        rows, found, rest = rows[better], found[better], rest[better]
        best[rows], chosen[rows] = rest, number
        slopes[rows] = np.stack([found[:, 1], found[:, 1] + found[:, 2]], axis=1)
    return slopes, best, chosen
