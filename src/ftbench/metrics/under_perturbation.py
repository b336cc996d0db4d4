"""Scores of a model on edited texts beside those on the texts themselves, and how often its answers fail.

The stage `score_perturbed` calls it with stored predictions of the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ftbench.metrics.base import Metric, Predictions
from ftbench.statistics.strength_curves import Curve

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.perturbations.base import Expectation

TOLERANCE = 0.1  # how far a probability may move (CheckList)
_CHUNK = 4_000_000  # numbers held at a time


def curve(
    metric: Metric,
    clean: Predictions,
    edited: Mapping[float, Sequence[Predictions]],
    generator: np.random.Generator,
    resamples: int,
) -> Curve:
    """The scores by strength; `edited` has, for each strength in ascending order, the predictions of every seed."""
    import numpy as np

    groups = [[clean], *edited.values()]
    scores = [float(np.mean([metric.score(one) for one in group])) for group in groups]
    drawn = generator.integers(0, len(clean), size=(resamples, len(clean)))
    samples = np.empty((resamples, len(groups)))
    for place, group in enumerate(groups):
        samples[:, place] = np.mean([_resampled(metric, one, drawn) for one in group], axis=0)
    return Curve(np.array([0.0, *edited]), np.array(scores), samples)


def _resampled(metric: Metric, predictions: Predictions, drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Scores of the drawn rows: (resamples,)."""
    import numpy as np

    parts, rows = metric.parts(predictions), len(predictions)
    if parts is None:
        return np.array([metric.score(predictions.take(chosen)) for chosen in drawn], dtype=np.float64)
    found = [np.zeros(0)]
    step = max(1, _CHUNK // max(rows, parts.shape[1]))
    for start in range(0, len(drawn), step):
        part = drawn[start : start + step]
        places = part + rows * np.arange(len(part))[:, None]
        times = np.bincount(places.ravel(), minlength=len(part) * rows).reshape(len(part), rows)
        found.append(metric.from_parts(times.astype(np.float64) @ parts.astype(np.float64), rows))
    return np.concatenate(found)


def failures(
    clean: Predictions, edited: Predictions, expectation: Expectation, tolerance: float = TOLERANCE
) -> NDArray[np.bool_]:
    """Whether the answer on each edited text fails what is expected: (rows,). Classification only.

    same: another label, or the probability of the label predicted before moves by more than `tolerance`; up, down: the
    probability of the expected label moves the other way by more than `tolerance`. Rows without a prediction before
    fail where they have one after.
    """
    import numpy as np

    rows = np.arange(len(clean))
    if expectation.label is None:
        label = np.maximum(clean.pred, 0)
    else:
        label = np.full(len(clean), clean.labels.index(expectation.label))
    moved = edited.probabilities[rows, label] - clean.probabilities[rows, label]
    if expectation.direction == "same":
        return np.asarray((edited.pred != clean.pred) | (np.abs(moved) > tolerance))
    return np.asarray(moved < -tolerance if expectation.direction == "up" else moved > tolerance)
