"""Expected calibration error over 15 bins of equal mass: sum_b 1/15 |accuracy(B_b) - confidence(B_b)|.

Rows stand in the order of their confidence and each bin holds exactly a fifteenth of them; a row on an edge is shared
between two bins, and rows of equal confidence share what is right among them, so that no order of rows matters. Equal
counts of other implementations differ where 15 does not divide the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import Metric, Predictions
from ftbench.metrics.calibration_gaps import BINS, confidences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EqualMassCalibrationError(Metric):
    name = "ece_mass"
    summary = "expected calibration error, 15 bins of equal mass"
    higher_is_better = False
    kinds = ("classification",)

    def score(self, predictions: Predictions) -> float:
        import numpy as np

        return float(_errors(predictions, np.ones((len(predictions), 1)))[0])

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        import numpy as np

        from ftbench.statistics.bootstrap import example_counts

        counts = example_counts(len(predictions), generator, resamples)
        return np.concatenate([np.zeros(0), *(_errors(predictions, times) for times in counts)])


def _errors(predictions: Predictions, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The error where rows were drawn `times` (rows, samples): (samples,).

    The gaps (right minus confidence) are added up in the order of confidence; a bin's share is the rise of that sum,
    joined by lines, over its fifteenth of the rows.
    """
    import numpy as np

    confidence, right = confidences(predictions)
    if not np.isfinite(confidence).all():
        return np.full(times.shape[1], np.nan)
    values, place = np.unique(confidence, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(values)))
    mass = np.add.reduceat(times[order], starts, axis=0)
    gaps = np.add.reduceat((times * (right - confidence)[:, None])[order], starts, axis=0)
    found = np.empty(times.shape[1])
    for sample in range(times.shape[1]):
        filled = np.concatenate([[0.0], np.cumsum(mass[:, sample])])
        summed = np.concatenate([[0.0], np.cumsum(gaps[:, sample])])
        edges = np.interp(np.linspace(0, filled[-1], BINS + 1), filled, summed)
        found[sample] = np.abs(np.diff(edges)).sum() / filled[-1]
    return found
