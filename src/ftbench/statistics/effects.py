"""Effect sizes: how large a difference is beside the spread, and how often one method is ahead.

A p value shrinks with every seed; these do not. The stage `compare` writes them beside each test.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def standardised_difference(differences: Values) -> float | None:
    """Mean of paired differences (pairs,) in units of their standard deviation, with Hedges' correction
    1 - 3 / (4 (pairs - 1) - 1) for few pairs; null below three pairs or without spread."""
    count = len(differences)
    if count < 3:
        return None
    spread = float(differences.std(ddof=1))
    if spread <= 1e-12 * max(1.0, float(np.abs(differences).max())):
        return None
    return float(differences.mean()) / spread * (1 - 3 / (4 * (count - 1) - 1))


def probability_of_improvement(first: Values, second: Values) -> float:
    """P(X > Y) + P(X = Y) / 2 over all pairs of scores (n,) and (m,): how often a run of the first is ahead."""
    return float(np.mean((first[:, None] > second[None, :]) + 0.5 * (first[:, None] == second[None, :])))


def win_rate(first: Values, second: Values) -> float:
    """Share of paired places (places,) where the first score is higher, ties counting half."""
    return float(np.mean((first > second) + 0.5 * (first == second)))
