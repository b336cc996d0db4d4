"""Area under the ROC curve of the probabilities: of the last of two labels, or the mean of each label against the rest.

P(positive above negative) + P(equal)/2, the rule of scikit-learn. The mean runs over the labels that occur as gold;
a set with one gold label has no AUROC, which is a null with that reason in the tables and not an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.metrics.base import Metric, Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AreaUnderTheRoc(Metric):
    name = "auroc"
    summary = "area under the ROC curve, one label against the rest"
    higher_is_better = True
    kinds = ("classification",)

    def undefined(self, predictions: Predictions) -> str | None:
        import numpy as np

        found = np.unique(predictions.gold)
        if len(found) < 2:
            names = [predictions.labels[index] for index in found]
            return f"all rows have the gold label {names}; AUROC needs rows of two"
        if not np.isfinite(predictions.probabilities).all():
            return "some rows have no finite probabilities"
        return None

    def score(self, predictions: Predictions) -> float:
        import numpy as np
        from sklearn.metrics import roc_auc_score

        if self.undefined(predictions) is not None:
            return float("nan")
        each = [
            roc_auc_score(predictions.gold == label, predictions.probabilities[:, label])
            for label in _positives(predictions)
        ]
        return float(np.mean(each))

    def resampled(
        self, predictions: Predictions, generator: np.random.Generator, resamples: int
    ) -> NDArray[np.float64]:
        import numpy as np

        from ftbench.statistics.bootstrap import example_counts

        parts = [np.zeros(0)]
        if self.undefined(predictions) is not None:
            return np.full(resamples, np.nan)
        for times in example_counts(len(predictions), generator, resamples):
            each = [_drawn(predictions, label, times) for label in _positives(predictions)]
            defined = np.isfinite(each)
            total = np.where(defined, each, 0.0).sum(axis=0)
            parts.append(np.where(defined.any(axis=0), total / np.maximum(defined.sum(axis=0), 1), np.nan))
        return np.concatenate(parts)


def _positives(predictions: Predictions) -> list[int]:
    """Labels that are held against the rest: the last of two, else all that occur as gold."""
    import numpy as np

    return [1] if len(predictions.labels) == 2 else [int(label) for label in np.unique(predictions.gold)]


def _drawn(predictions: Predictions, label: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUROC of one label where rows were drawn `times` (rows, resamples); NaN where a sample has one kind of row."""
    import numpy as np

    values = predictions.probabilities[:, label]
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf))  # where a new value begins
    positive = (predictions.gold == label)[order, None]
    above, below = (np.add.reduceat(times[order] * chosen, starts, axis=0) for chosen in (positive, ~positive))
    wins = ((np.cumsum(below, axis=0) - 0.5 * below) * above).sum(axis=0)
    pairs = above.sum(axis=0) * below.sum(axis=0)
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)
