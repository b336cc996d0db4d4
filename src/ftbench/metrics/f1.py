"""F1 of a two-label set: 2 TP / (2 TP + FP + FN), where the positive label is the last one in the set's
order.

It is 0 where neither gold nor prediction holds the positive label, the rule of scikit-learn. Refused for sets
with more labels, where `f1_macro` says what it averages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import ConfusionMetric, Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class F1(ConfusionMetric):
    name = "f1"
    summary = "F1 of the last of two labels"
    higher_is_better = True

    def obstacle(self, predictions: Predictions) -> str | None:
        found = super().obstacle(predictions)
        if found is None and len(predictions.labels) != 2:
            found = f"needs two labels, and the set has {list(predictions.labels)}; use `f1_macro`"
        return found

    def from_confusion(self, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        import numpy as np

        true_positive = confusion[..., 1, 1]
        occurrences = confusion[..., 1, :].sum(axis=-1) + confusion[..., :, 1].sum(axis=-1)
        return np.asarray(2 * true_positive / np.maximum(occurrences, 1))
