"""Effective robustness: how far a model is above what its in-domain score lets expect under shift (Taori et al. 2020).

A family of plain models gives the expectation, logit(shifted) = a + b logit(in domain); the effective robustness of a
model is its shifted score minus sigma(a + b logit(its in-domain score)). Scores are shares, clipped by half a row.
Intervals resample the family's runs, the model's runs and, where resampled scores are given, the examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ftbench.statistics.bootstrap import seed_shares
from ftbench.statistics.intervals import percentile_interval

Values = NDArray[np.float64]
NARROWEST = 0.05  # in-domain span of a family from which on its line means something
FEWEST = 3  # runs of a family


@dataclass(frozen=True)
class Runs:
    """In-domain and shifted scores of some runs (runs,), and the same on resampled examples (runs, resamples) or
    null."""

    inside: Values
    shifted: Values
    inside_drawn: Values | None = None
    shifted_drawn: Values | None = None

    def drawn(self) -> tuple[Values, Values]:
        """Scores on resampled examples, or the scores themselves: (runs, resamples or 1)."""
        inside = self.inside[:, None] if self.inside_drawn is None else self.inside_drawn
        shifted = self.shifted[:, None] if self.shifted_drawn is None else self.shifted_drawn
        return inside, shifted


@dataclass(frozen=True)
class Line:
    """logit(shifted) = intercept + slope logit(in domain), and the share of variance that it explains."""

    intercept: float
    slope: float
    r_squared: float


def logit(values: Values, rows: int) -> Values:
    """log(p / (1 - p)) of shares of `rows` rows, clipped to [1 / (2 rows), 1 - 1 / (2 rows)]."""
    half = 1 / (2 * rows)
    clipped = np.clip(values, half, 1 - half)
    return np.asarray(np.log(clipped / (1 - clipped)))


def expected(inside: Values, intercept: Values | float, slope: Values | float, rows: int) -> Values:
    """sigma(a + b logit(in domain))."""
    return np.asarray(1 / (1 + np.exp(-(intercept + slope * logit(inside, rows)))))


def obstacle(family: Runs) -> str | None:
    """Why a family gives no expectation, in words; null where it does."""
    if len(family.inside) < FEWEST:
        return f"{len(family.inside)} runs in the family; a line needs {FEWEST}"
    span = float(np.ptp(family.inside))
    if span < NARROWEST:
        return f"the family spans {100 * span:.1f} points in domain; a line needs {100 * NARROWEST:.0f}"
    return None


def fit(family: Runs, rows: tuple[int, int]) -> Line:
    """The line of a family; `rows` are those of the in-domain and of the shifted set."""
    x, y = logit(family.inside, rows[0]), logit(family.shifted, rows[1])
    intercept, slope = _lines(x[:, None], y[:, None], np.ones((len(x), 1)))
    spread = float(((y - y.mean()) ** 2).sum())
    rest = float(((y - intercept[0] - slope[0] * x) ** 2).sum())
    return Line(float(intercept[0]), float(slope[0]), 1 - rest / spread if spread > 0 else 0.0)


def effective_robustness(
    family: Runs, model: Runs, rows: tuple[int, int], generator: np.random.Generator, resamples: int
) -> tuple[float, tuple[float, float] | None]:
    """The mean over the model's runs, and its 95 % percentile interval; `resamples` as in the drawn scores, if any."""
    line = fit(family, rows)
    value = float((model.shifted - expected(model.inside, line.intercept, line.slope, rows[0])).mean())
    inside, shifted = family.drawn()
    weights = seed_shares(len(family.inside), generator, resamples)
    intercept, slope = _lines(logit(inside, rows[0]), logit(shifted, rows[1]), weights)
    own_inside, own_shifted = model.drawn()
    above = own_shifted - expected(own_inside, intercept, slope, rows[0])
    shares = seed_shares(len(model.inside), generator, resamples)
    return value, percentile_interval((above * shares).sum(axis=0))


def _lines(x: Values, y: Values, weights: Values) -> tuple[Values, Values]:
    """Intercepts and slopes (samples,) of weighted least squares; all arrays (points, samples or 1)."""
    shares = weights / weights.sum(axis=0)
    mean_x, mean_y = (shares * x).sum(axis=0), (shares * y).sum(axis=0)
    spread = (shares * (x - mean_x) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 1e-12, (shares * (x - mean_x) * (y - mean_y)).sum(axis=0) / spread, np.nan)
    return mean_y - slope * mean_x, slope
