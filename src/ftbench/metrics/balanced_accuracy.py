"""Balanced accuracy: the mean over the labels that occur as gold of the share of their rows that is predicted right.

A row without a valid prediction counts as wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import ConfusionMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BalancedAccuracy(ConfusionMetric):
    name = "balanced_accuracy"
    summary = "mean over gold labels of the share predicted right"
    higher_is_better = True

    def from_confusion(self, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        import numpy as np

        right, gold = np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1)
        return np.asarray((right / np.maximum(gold, 1)).sum(axis=-1) / (gold > 0).sum(axis=-1))
