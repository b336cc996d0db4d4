"""Pearson correlation of gold and predicted scores.

Undefined, hence null in the table, where either is constant, as after a collapsed run.
"""

from __future__ import annotations

from ftbench.metrics.base import Predictions, RecomputedMetric


class Pearson(RecomputedMetric):
    name = "pearson"
    summary = "Pearson correlation"
    higher_is_better = True
    kinds = ("regression",)
    bounds = (-1.0, 1.0)

    def score(self, predictions: Predictions) -> float:
        import numpy as np
        from scipy.stats import pearsonr

        gold, predicted = predictions.gold_value, predictions.pred_value
        if len(gold) < 2 or np.ptp(gold) == 0 or not np.ptp(predicted) > 0:
            return float("nan")
        return float(pearsonr(gold, predicted).statistic)
