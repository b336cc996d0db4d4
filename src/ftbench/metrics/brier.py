"""Brier score for any number of labels: the mean over rows of sum_c (p_c - [c is gold])^2, between 0 and 2.

For two labels this is twice the halved form that some packages give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import MeanMetric, Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Brier(MeanMetric):
    name = "brier"
    summary = "mean squared distance of the probabilities from the gold label, 0 to 2"
    higher_is_better = False
    kinds = ("classification",)
    unit = "number"
    bounds = (0.0, 2.0)

    def per_example(self, predictions: Predictions) -> NDArray[np.float64]:
        import numpy as np

        gold = np.eye(len(predictions.labels))[predictions.gold]
        return np.asarray(((predictions.probabilities - gold) ** 2).sum(axis=1))
