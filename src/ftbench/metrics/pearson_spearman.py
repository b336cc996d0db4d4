"""The mean of Pearson and Spearman correlation, the single number that GLUE gives for STS-B.

Undefined where either is.
"""

from __future__ import annotations

from ftbench.metrics.base import Predictions, RecomputedMetric
from ftbench.metrics.pearson import Pearson
from ftbench.metrics.spearman import Spearman


class PearsonSpearman(RecomputedMetric):
    name = "pearson_spearman"
    summary = "mean of Pearson and Spearman correlation"
    higher_is_better = True
    kinds = ("regression",)
    bounds = (-1.0, 1.0)

    def score(self, predictions: Predictions) -> float:
        return (Pearson().score(predictions) + Spearman().score(predictions)) / 2
