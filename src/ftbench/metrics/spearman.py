"""Spearman correlation of gold and predicted scores: Pearson correlation of their ranks, ties sharing a
mean rank.

Undefined, hence null in the table, where either is constant, as after a collapsed run.
"""

from __future__ import annotations

from ftbench.metrics.base import Predictions, RecomputedMetric


class Spearman(RecomputedMetric):
    name = "spearman"
    summary = "Spearman rank correlation"
    higher_is_better = True
    kinds = ("regression",)
    bounds = (-1.0, 1.0)

    def score(self, predictions: Predictions) -> float:
        import numpy as np
        from scipy.stats import spearmanr

        gold, predicted = predictions.gold_value, predictions.pred_value
        if len(gold) < 2 or np.ptp(gold) == 0 or not np.ptp(predicted) > 0:
            return float("nan")
        return float(spearmanr(gold, predicted).statistic)
