"""Stage `score`: the stored predictions of one artifact become rows of the table `metrics`.

Runs on a CPU without the model: logits are read in each set's labels by name, every metric gets a score and
a bootstrap interval over examples. It trusts nothing it can check: stored predictions must follow from the
logits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError, problem
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    from ftbench.metrics.base import Metric, Predictions


class Spec(Strict):
    """What is scored and how."""

    artifact: str = Field(description="id of the artifact: its folder below the study")
    study: str
    task: str
    model: str
    artifact_kind: Literal["base", "run", "soup", "ensemble"]
    method: str | None = None
    variant: str | None = None
    seed: int | None = None
    metrics: list[str] = Field(default_factory=list, description="empty: by the kind of each set")
    resamples: int = Field(1000, ge=0, description="bootstrap resamples over examples; 0: no intervals")


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `predictions`, `audit`; output `metrics`. An artifact that failed gives a table without rows."""
    from pyarrow import compute

    from ftbench.tables.store import metadata, read_table, write_table

    table = read_table("predictions", inputs["predictions"])
    audit = _audit(inputs["audit"])
    header = metadata(table)
    rows: list[dict[str, Any]] = []
    for eval_set in table.column("eval_set").unique().to_pylist():
        part = table.filter(compute.equal(table.column("eval_set"), eval_set))
        role = part.column("role")[0].as_py()
        where = f"{inputs['predictions']}, set `{eval_set}`"
        if eval_set not in audit["sets"]:
            raise FtbenchError(problem(file=where, found="a set that the audit does not know", fix="Run `audit`."))
        about = audit["sets"][eval_set]
        head = header.get("prior_labels" if role == "prior" else "labels") or []
        if about["kind"] == "regression":
            predictions, label_map = _regression(part, where), None
        else:
            predictions = _classification(part, head, about, where)
            label_map = about["map"]["rule"] if about.get("map") else "identity"
        common = {
            "artifact_id": spec.artifact,
            "eval_set": eval_set,
            **spec.model_dump(include={"study", "task", "model", "artifact_kind", "method", "variant", "seed"}),
            "role": role,
            "n": len(predictions),
            "label_map": label_map,
            "resamples": spec.resamples,
        }
        # a prior task has labels of its own, so the task's metrics need not fit it
        chosen = _metrics([] if role == "prior" else spec.metrics, predictions.kind)
        rows += [{**common, **_scored(metric, predictions, spec, eval_set, where)} for metric in chosen]
    write_table("metrics", rows, outputs["metrics"])


def _audit(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FtbenchError(
            problem(
                file=path,
                found=f"no readable audit ({error})",
                fix="Delete the file and run the study again.",
            )
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("sets"), dict):
        raise FtbenchError(problem(file=path, key="sets", found="nothing", expected="the audited sets by name"))
    return content


def _metrics(names: list[str], kind: str) -> list[Metric]:
    from ftbench.metrics.base import DEFAULTS
    from ftbench.plugins import plugin

    return [plugin("metrics", name).factory() for name in names or DEFAULTS[kind]]


def _classification(part: Any, head: list[str], about: Mapping[str, Any], where: str) -> Predictions:
    import numpy as np

    from ftbench.data.labels import map_logits
    from ftbench.metrics.base import Predictions

    labels = list(about["labels"])
    gold = part.column("gold").to_pylist()
    strange = sorted({str(name) for name in gold if name not in labels})
    if strange:
        raise FtbenchError(
            problem(file=where, key="gold", found=str(strange), expected=f"labels out of {labels} on every row")
        )
    logits = np.array(_equal_widths(part, len(head), where), dtype=np.float64)
    pred, probabilities = map_logits(logits, head, labels, about.get("map"), where)
    derived = [labels[index] if index >= 0 else None for index in pred]
    differing = sum(ours != theirs for ours, theirs in zip(derived, part.column("pred").to_pylist(), strict=True))
    if differing:
        raise FtbenchError(
            problem(
                file=where,
                key="pred",
                found=f"{differing} of {len(derived)} predictions that do not follow from the logits",
                expected=f"logits in the order {head}, read in the labels {labels}",
                fix="The label order or the map changed after prediction; run `predict` again.",
            )
        )
    none = np.zeros(0)
    index = {name: number for number, name in enumerate(labels)}
    numbers = np.array([index[name] for name in gold], dtype=np.int64)
    return Predictions("classification", tuple(labels), numbers, pred, probabilities, none, none)


def _equal_widths(part: Any, width: int, where: str) -> list[list[float]]:
    logits: list[list[float]] = part.column("logits").to_pylist()
    found = sorted({len(row) for row in logits})
    if found != [width]:
        raise FtbenchError(
            problem(
                file=where,
                key="logits",
                found=f"{found} numbers a row",
                expected=f"{width}, one for each label",
            )
        )
    return logits


def _regression(part: Any, where: str) -> Predictions:
    import numpy as np

    from ftbench.metrics.base import Predictions

    for column in ("gold_value", "pred_value"):
        if part.column(column).null_count:
            raise FtbenchError(problem(file=where, key=column, found="nulls", expected="a number on every row"))
    whole = np.zeros(0, dtype=np.int64)
    gold, predicted = (part.column(name).to_numpy() for name in ("gold_value", "pred_value"))
    return Predictions("regression", (), whole, whole, np.zeros((0, 0)), gold, predicted)


def _scored(metric: Metric, predictions: Predictions, spec: Spec, eval_set: str, where: str) -> dict[str, Any]:
    """The columns of one score; an undefined score is null and has no interval."""
    import math

    from ftbench.metrics.resampling import generator_for, percentile_interval

    obstacle = metric.obstacle(predictions)
    if obstacle:
        raise FtbenchError(f"{where}: metric `{metric.name}` {obstacle}. Change `metrics` of the task.")
    value: float | None = metric.score(predictions)
    interval = None
    if value is None or not math.isfinite(value):
        value = None
    else:
        low, high = metric.bounds
        if not low - 1e-9 <= value <= high + 1e-9:
            raise FtbenchError(f"{where}: metric `{metric.name}` gave {value}, outside its bounds {low} to {high}")
        generator = generator_for(spec.artifact, eval_set, metric.name)
        interval = percentile_interval(metric.resampled(predictions, generator, spec.resamples))
    return {
        "metric": metric.name,
        "value": value,
        "ci_low": interval[0] if interval else None,
        "ci_high": interval[1] if interval else None,
        "higher_is_better": metric.higher_is_better,
        "unit": metric.unit,
    }
