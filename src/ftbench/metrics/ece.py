"""Expected calibration error: sum_b |B_b|/n |accuracy(B_b) - confidence(B_b)| over 15 equal-width bins.

Bins are closed on the right, (0, 1/15] to (14/15, 1]. The confidence is the probability of the predicted
label after the label map; without a merging map that is the highest probability. It is biased upward in
small sets, and its bootstrap interval shares the bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import Metric, Predictions
from ftbench.metrics.calibration_gaps import BINS, bin_of, confidences
from ftbench.metrics.resampling import mean_resamples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ExpectedCalibrationError(Metric):
    name = "ece"
    summary = "expected calibration error, 15 equal-width bins"
    higher_is_better = False
    kinds = ("classification",)

    def score(self, predictions: Predictions) -> float:
        import numpy as np

        return float(np.abs(_gaps(predictions).mean(axis=0)).sum())

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        import numpy as np

        return np.asarray(np.abs(mean_resamples(_gaps(predictions), generator, resamples)).sum(axis=1))


def _gaps(predictions: Predictions) -> NDArray[np.float64]:
    """Correct minus confidence, in the column of the row's bin: (rows, bins).

    |B|/n |accuracy - confidence| is the absolute mean of a column, so a resample needs column means only.
    """
    import numpy as np

    confidence, right = confidences(predictions)
    if not np.isfinite(confidence).all():  # a row without a prediction has no confidence
        return np.full((len(predictions), BINS), np.nan)
    gaps = np.zeros((len(predictions), BINS))
    gaps[np.arange(len(predictions)), bin_of(confidence)] = right - confidence
    return gaps
