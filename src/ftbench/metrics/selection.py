"""Scores on the `select` rows: what training and soups may look at. Never called with test rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.data.labels import softmax
from ftbench.metrics.base import Predictions
from ftbench.plugins import plugin

if TYPE_CHECKING:
    import numpy as np

# a run whose score does not exceed the most frequent answer by this margin has collapsed
MARGINS = {"matthews": 0.02, "pearson": 0.02, "spearman": 0.02, "pearson_spearman": 0.02}
DEFAULT_MARGIN = 0.01


def default_metric(kind: str) -> str:
    """The metric of the selection where a task names none."""
    return "spearman" if kind == "regression" else "accuracy"


def predictions_of(logits: np.ndarray, targets: np.ndarray, kind: str, labels: Sequence[str]) -> Predictions:
    """Predictions in the task's own labels; logits: (rows, labels) or (rows, 1), targets: (rows,)."""
    import numpy as np

    if kind == "regression":
        empty = np.zeros(0, dtype=np.int64)
        values, gold = logits[:, 0].astype(np.float64), targets.astype(np.float64)
        return Predictions(kind, (), empty, empty, np.zeros((0, 0)), gold, values)
    nothing = np.zeros(0)
    chosen = np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), -1)
    return Predictions(kind, tuple(labels), targets.astype(np.int64), chosen, softmax(logits), nothing, nothing)


def selection_score(metric: str, logits: np.ndarray, targets: np.ndarray, kind: str, labels: Sequence[str]) -> float:
    """The score of raw outputs on the `select` rows, oriented so that higher is better."""
    import math

    factory = plugin("metrics", metric).factory()
    predictions = predictions_of(logits, targets, kind, labels)
    obstacle = factory.obstacle(predictions)
    if obstacle:
        raise FtbenchError(f"the metric `{metric}` cannot select: it {obstacle}")
    value = float(factory.score(predictions))
    if math.isnan(value):  # a constant prediction has no correlation: no agreement at all
        value = 0.0
    return value if factory.higher_is_better else -value


def majority_score(metric: str, targets: np.ndarray, kind: str, labels: Sequence[str]) -> float:
    """The score of always giving the most frequent label, or the mean."""
    import numpy as np

    if kind == "regression":
        return selection_score(metric, np.full((len(targets), 1), targets.mean()), targets, kind, labels)
    constant = np.zeros((len(targets), len(labels)))
    constant[:, np.bincount(targets, minlength=len(labels)).argmax()] = 1.0
    return selection_score(metric, constant, targets, kind, labels)


def collapsed(metric: str, score: float, majority: float) -> bool:
    """True for a run that learnt nothing beyond the most frequent answer."""
    return score <= majority + MARGINS.get(metric, DEFAULT_MARGIN)
