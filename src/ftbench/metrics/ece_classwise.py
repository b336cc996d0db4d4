"""Class-wise calibration error: 1/C sum_c sum_b |B_bc|/n |share of label c in B_bc - mean p_c in B_bc|.

B_bc are the rows whose probability of label c falls into the b-th of 15 equal-width bins, closed on the right as in
`ece`. It judges the probability of every label and not of the predicted one alone, so a merging label map or a missing
prediction changes nothing in it. Biased upward in small sets, more so with many labels.

Paper: Kull et al. (2019), Beyond temperature scaling; Nixon et al. (2019) call it static calibration error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import Metric, Predictions
from ftbench.metrics.calibration_gaps import BINS, bin_of
from ftbench.metrics.resampling import mean_resamples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ClasswiseCalibrationError(Metric):
    name = "ece_classwise"
    summary = "calibration error of the probability of each label, mean over labels, 15 equal-width bins"
    higher_is_better = False
    kinds = ("classification",)

    def score(self, predictions: Predictions) -> float:
        import numpy as np

        return float(np.abs(_gaps(predictions).mean(axis=0)).sum()) / len(predictions.labels)

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        import numpy as np

        means = mean_resamples(_gaps(predictions), generator, resamples)
        return np.asarray(np.abs(means).sum(axis=1) / len(predictions.labels))


def _gaps(predictions: Predictions) -> NDArray[np.float64]:
    """Is gold minus probability, of each label in the column of its bin: (rows, labels * bins).

    As in `ece`, the weighted gap of a bin is the absolute mean of its column.
    """
    import numpy as np

    shares = predictions.probabilities
    rows, labels = np.indices(shares.shape)
    gaps = np.zeros((*shares.shape, BINS))
    gaps[rows, labels, bin_of(shares)] = (labels == predictions.gold[:, None]) - shares
    if not np.isfinite(shares).all():
        gaps[...] = np.nan
    return gaps.reshape(len(shares), -1)
