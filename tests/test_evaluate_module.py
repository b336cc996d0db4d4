"""Every metric plug-in loads as an `evaluate.Metric` without network and scores as scikit-learn and scipy do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
from test_metrics import NAMES, metric, reference, sample_for

from ftbench.metrics.base import ConfusionMetric
from ftbench.metrics.entities import TagSequences

OUTSIDE = [name for name in NAMES if {"classification", "regression", "sequence"} & set(metric(name).kinds)]
FILE = Path(__file__).parents[1] / "src" / "ftbench" / "evaluate_module.py"


def offline(*_: Any, **__: Any) -> None:
    raise AssertionError("a metric asked the network")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_metric_loads_by_path_without_network_and_gives_the_reference_score(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", offline)
    loaded = evaluate.load(str(FILE), name)
    assert isinstance(loaded, evaluate.Metric)
    given = sample_for(name)
    if isinstance(given, TagSequences):
        found = loaded.compute(predictions=given.pred_tags, references=given.gold_tags)
    elif given.kind == "regression":
        found = loaded.compute(predictions=given.pred_value, references=given.gold_value)
    elif isinstance(metric(name), ConfusionMetric):
        found = loaded.compute(predictions=given.pred, references=given.gold)
    else:
        found = loaded.compute(predictions=given.probabilities.tolist(), references=given.gold)
    assert found == {name: pytest.approx(reference(name, given), abs=1e-9)}
    assert np.isfinite(found[name])


def test_a_metric_of_another_kind_is_refused() -> None:
    other = next(name for name in NAMES if name not in OUTSIDE)
    with pytest.raises(ValueError, match="only a study can score"):
        evaluate.load(str(FILE), other)
