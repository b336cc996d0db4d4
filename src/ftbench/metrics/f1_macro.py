"""Macro F1: the plain mean over labels of F1 = 2 TP / (2 TP + FP + FN).

The mean runs over labels that occur as gold or as prediction, the rule of scikit-learn. A row without a valid
prediction counts as missed, and is no label of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import ConfusionMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class F1Macro(ConfusionMetric):
    name = "f1_macro"
    summary = "mean over labels of F1"
    higher_is_better = True

    def from_confusion(self, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        import numpy as np

        true_positive = np.diagonal(confusion, axis1=-2, axis2=-1)
        occurrences = confusion.sum(axis=-1) + confusion[..., :-1].sum(axis=-2)
        each = 2 * true_positive / np.maximum(occurrences, 1)
        return np.asarray(each.sum(axis=-1) / (occurrences > 0).sum(axis=-1))
