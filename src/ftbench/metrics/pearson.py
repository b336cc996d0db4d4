"""Pearson correlation of gold and predicted scores.

Undefined, hence null in the table, where either is constant, as after a collapsed run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftbench.metrics.base import Predictions, RecomputedMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    def parts(self, predictions: Predictions) -> NDArray[Any]:
        """Both scores about their means, their squares and their product: (rows, 5)."""
        import numpy as np

        # about the mean, or the squares would cancel in the last digits
        first = predictions.gold_value - predictions.gold_value.mean()
        second = predictions.pred_value - predictions.pred_value.mean()
        return np.stack([first, second, first**2, second**2, first * second], axis=1)

    def from_parts(self, sums: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
        import numpy as np

        first, second, first_square, second_square, product = np.moveaxis(sums / rows, -1, 0)
        spread = (first_square - first**2) * (second_square - second**2)
        return np.where(spread > 0, (product - first * second) / np.sqrt(np.where(spread > 0, spread, 1)), np.nan)
