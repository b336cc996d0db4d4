"""Metric plug-ins as `evaluate.Metric`, for use outside a study: `evaluate.load(PATH_OF_THIS_FILE, "f1_macro")`.

Loads without network; nothing in the package imports it. Metrics of sequences have their use here alone, as no task of
a study has any; metrics of plain text read what only a study stores, and are refused.
"""

from __future__ import annotations

from typing import Any

import evaluate  # type: ignore[import-untyped]
import numpy as np
from datasets.features import Features, Sequence, Value

from ftbench.metrics.base import ConfusionMetric, Metric, Predictions
from ftbench.metrics.entities import TagSequences
from ftbench.plugins import plugin


class PluginMetric(evaluate.Metric):  # type: ignore[misc]
    """The metric that the second argument of `evaluate.load` names, scored without intervals.

    Classification: `references` are label numbers; `predictions` label numbers too, or a probability for each label
    for metrics that need probabilities. Regression: both are scores. Sequences: both are a list of tags for each row,
    `O`, `B-type` or `I-type`. `labels` of `compute` is how many labels there are where the largest number does not say.
    """

    def _info(self) -> evaluate.MetricInfo:
        metric = self._metric()
        number = Value("float64")
        if "sequence" in metric.kinds:
            features = Features({"predictions": Sequence(Value("string")), "references": Sequence(Value("string"))})
        elif "regression" in metric.kinds:
            features = Features({"predictions": number, "references": number})
        elif isinstance(metric, ConfusionMetric):
            features = Features({"predictions": Value("int64"), "references": Value("int64")})
        else:
            features = Features({"predictions": Sequence(number), "references": Value("int64")})
        return evaluate.MetricInfo(
            description=metric.summary, citation="", inputs_description=str(type(self).__doc__), features=features
        )

    def _metric(self) -> Metric:
        found: Metric = plugin("metrics", self.config_name).factory()
        if not {"classification", "regression", "sequence"} & set(found.kinds):
            raise ValueError(f"`{found.name}` is for {' and '.join(found.kinds)}, which only a study can score")
        return found

    def _compute(self, predictions: Any, references: Any, labels: int | None = None) -> dict[str, float]:
        metric = self._metric()
        if "sequence" in metric.kinds:
            return {metric.name: metric.score(TagSequences.of(references, predictions))}
        none = np.zeros(0)
        if "regression" in metric.kinds:
            whole = np.zeros(0, dtype=np.int64)
            values = (np.asarray(item, dtype=np.float64) for item in (references, predictions))
            return {metric.name: metric.score(Predictions("regression", (), whole, whole, np.zeros((0, 0)), *values))}
        gold, given = np.asarray(references, dtype=np.int64), np.asarray(predictions)
        if given.ndim == 2:
            chosen, shares = given.argmax(axis=1), given.astype(np.float64)
        else:
            count = labels or int(max(gold.max(), given.max())) + 1
            chosen, shares = given.astype(np.int64), np.eye(count)[given.astype(np.int64)]
        names = tuple(str(number) for number in range(shares.shape[1]))
        rows = Predictions("classification", names, gold, chosen, shares, none, none)
        obstacle = metric.obstacle(rows)
        if obstacle:
            raise ValueError(f"{metric.name} {obstacle}")
        return {metric.name: metric.score(rows)}
