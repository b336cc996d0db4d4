"""Mean squared error of predicted scores, in squared units of the data set's score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ftbench.metrics.base import MeanMetric, Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MeanSquaredError(MeanMetric):
    name = "mse"
    summary = "mean squared error"
    higher_is_better = False
    kinds = ("regression",)
    unit = "number"
    bounds = (0.0, math.inf)

    def per_example(self, predictions: Predictions) -> NDArray[np.float64]:
        return (predictions.pred_value - predictions.gold_value) ** 2
