"""Negative log-likelihood: the mean of -log p of the gold label, in nats.

Probabilities are those after the label map and are clipped at 1e-12, so one impossible row cannot make the
mean infinite.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ftbench.metrics.base import MeanMetric, Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FLOOR = 1e-12


class NegativeLogLikelihood(MeanMetric):
    name = "nll"
    summary = "mean of -log p of the gold label, nats"
    higher_is_better = False
    kinds = ("classification",)
    unit = "number"
    bounds = (0.0, -math.log(FLOOR))

    def per_example(self, predictions: Predictions) -> NDArray[np.float64]:
        import numpy as np

        true = predictions.probabilities[np.arange(len(predictions)), predictions.gold]
        return np.asarray(-np.log(np.clip(true, FLOOR, 1.0)))
