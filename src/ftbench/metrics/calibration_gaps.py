"""Confidence and correctness of predictions, and the 15 equal-width bins of calibration errors.

The calibration metrics and the table `reliability` share them. Bins are closed on the right: (0, 1/15] to (14/15, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.metrics.base import Predictions

BINS = 15


def confidences(predictions: Predictions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probability of the predicted label (rows,), NaN without a prediction, and whether it is right (rows,)."""
    import numpy as np

    rows = np.arange(len(predictions))
    confidence = np.where(predictions.pred < 0, np.nan, predictions.probabilities[rows, predictions.pred])
    return confidence, (predictions.pred == predictions.gold).astype(np.float64)


def bin_of(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each confidence, from 0."""
    import numpy as np

    return np.asarray(np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence, side="left"), dtype=np.int64)
