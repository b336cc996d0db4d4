"""Accuracy: the share of rows whose predicted label is the gold label.

sum_c n_cc / n, with n_cc the diagonal of the confusion matrix. A row without a valid prediction counts as
wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftbench.metrics.base import ConfusionMetric, Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Accuracy(ConfusionMetric):
    name = "accuracy"
    summary = "share of rows predicted right"
    higher_is_better = True

    def from_confusion(self, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        import numpy as np

        right = np.trace(confusion, axis1=-2, axis2=-1)
        return np.asarray(right / confusion.sum(axis=(-2, -1)))

    def parts(self, predictions: Predictions) -> NDArray[Any]:
        """Whether the row is right: (rows, 1), bytes; less than a matrix a row."""
        import numpy as np

        return np.asarray(predictions.pred == predictions.gold, dtype=np.uint8)[:, None]

    def from_parts(self, sums: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        return sums[..., 0] / rows
