"""Matthews correlation of gold and predicted labels, for any number of labels (Gorodkin 2004).

(n sum_c n_cc - sum_c g_c p_c) / sqrt((n^2 - sum_c p_c^2)(n^2 - sum_c g_c^2)) with g_c gold and p_c
predicted counts. It is 0 where gold or prediction is constant, the rule of scikit-learn; rows without a
valid prediction form a predicted label of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import ConfusionMetric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Matthews(ConfusionMetric):
    name = "matthews"
    summary = "Matthews correlation coefficient"
    higher_is_better = True
    bounds = (-1.0, 1.0)

    def from_confusion(self, confusion: NDArray[np.int64]) -> NDArray[np.float64]:
        import numpy as np

        total = confusion.sum(axis=(-2, -1)).astype(np.float64)
        right = np.trace(confusion, axis1=-2, axis2=-1)
        gold = confusion.sum(axis=-1).astype(np.float64)
        predicted = confusion.sum(axis=-2).astype(np.float64)
        covariance = total * right - (gold * predicted[..., :-1]).sum(axis=-1)
        spread = (total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (gold**2).sum(axis=-1))
        return np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1)), 0.0)
