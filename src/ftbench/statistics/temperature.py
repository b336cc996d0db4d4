"""One temperature for the outputs of a model: logits divided by T before the softmax, T fitted on held-out rows.

The stage `score` calls it. Guo et al. (2017), On Calibration of Modern Neural Networks:
T = argmin_T -1/n sum_i log softmax(z_i / T)[y_i]. In 1/T that loss is convex, so the slopes at the two ends of the
searched range say for certain whether the minimum lies within it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOG_BOUND = 3.0  # log T is searched between minus this and this
_TOLERANCE = 1e-8  # of log T


@dataclass(frozen=True)
class Fit:
    """A temperature and where it lies. `lowest` and `highest` are the ends of the range, exp(-3) and exp(3): the loss
    still falls there, as towards T = 0 where every row is right. `flat`: the loss is the same at every temperature, and
    T stays 1."""

    temperature: float
    at: Literal["inside", "lowest", "highest", "flat"]


def fit_temperature(logits: NDArray[np.float64], gold: NDArray[np.int64]) -> Fit:
    """The temperature of least negative log-likelihood; logits: (rows, labels), finite, at least one row; gold: (rows,)
    column of the true label. Nothing is clipped. No randomness."""
    import math

    import numpy as np
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp, softmax

    if not len(logits) or not np.isfinite(logits).all():
        raise ValueError(f"logits of shape {logits.shape}; expected at least one row, and finite numbers alone")
    below = logits - logits.max(axis=1, keepdims=True)  # a constant of a row changes no probability
    true = below[np.arange(len(gold)), gold]

    def loss(log_temperature: float) -> float:
        scaled = math.exp(-log_temperature)
        return float(np.mean(logsumexp(scaled * below, axis=1) - scaled * true))

    def slope(log_temperature: float) -> float:
        """The derivative of the loss by 1/T: expected minus true logit."""
        shares = softmax(math.exp(-log_temperature) * below, axis=1)
        return float(np.mean((shares * below).sum(axis=1) - true))

    falls, rises = slope(-LOG_BOUND) <= 0, slope(LOG_BOUND) >= 0  # on the whole way to the end of the range
    if falls and rises:
        return Fit(1.0, "flat")
    if falls:
        return Fit(math.exp(-LOG_BOUND), "lowest")
    if rises:
        return Fit(math.exp(LOG_BOUND), "highest")
    found = minimize_scalar(
        loss, bounds=(-LOG_BOUND, LOG_BOUND), method="bounded", options={"xatol": _TOLERANCE, "maxiter": 500}
    )
    return Fit(math.exp(float(found.x)), "inside")
