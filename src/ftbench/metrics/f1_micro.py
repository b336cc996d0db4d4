"""Micro F1: 2 TP / (2 TP + FP + FN) with the counts of all labels added up.

With one label a row it equals accuracy unless rows have no valid prediction, which are missed and no false positives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import ConfusionMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class F1Micro(ConfusionMetric):
    name = "f1_micro"
    summary = "F1 of the counts of all labels together"
    higher_is_better = True

    def from_confusion(self, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        import numpy as np

        right = np.trace(confusion, axis1=-2, axis2=-1)
        occurrences = confusion.sum(axis=(-2, -1)) + confusion[..., :-1].sum(axis=(-2, -1))
        return np.asarray(2 * right / np.maximum(occurrences, 1))
