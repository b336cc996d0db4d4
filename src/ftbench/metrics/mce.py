"""Maximum calibration error: the largest |accuracy - confidence| among the filled ones of 15 equal-width bins.

Bins and confidence as in `ece`. One row alone in a bin can decide it, so it is large in small sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import Metric, Predictions
from ftbench.metrics.calibration_gaps import BINS, bin_of, confidences
from ftbench.metrics.resampling import mean_resamples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MaximumCalibrationError(Metric):
    name = "mce"
    summary = "largest calibration error of 15 equal-width bins"
    higher_is_better = False
    kinds = ("classification",)

    def score(self, predictions: Predictions) -> float:
        return float(_largest(_parts(predictions).mean(axis=0)[None])[0])

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        return _largest(mean_resamples(_parts(predictions), generator, resamples))


def _parts(predictions: Predictions) -> NDArray[np.float64]:
    """Right minus confidence, and a one, in the columns of the row's bin: (rows, 2 bins)."""
    import numpy as np

    confidence, right = confidences(predictions)
    if not np.isfinite(confidence).all():
        return np.full((len(right), 2 * BINS), np.nan)
    rows, place = np.arange(len(right)), bin_of(confidence)
    parts = np.zeros((len(right), 2 * BINS))
    parts[rows, place], parts[rows, BINS + place] = right - confidence, 1.0
    return parts


def _largest(means: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    gaps, shares = np.abs(means[:, :BINS]), means[:, BINS:]
    return np.asarray(np.where(shares > 0, gaps / np.where(shares > 0, shares, 1), gaps).max(axis=1))
