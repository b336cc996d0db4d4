"""Stage `score`: the stored predictions of one artifact become rows of `metrics` and `calibration`.

Runs on a CPU without the model: logits are read in each set's labels by name, every metric gets a score and
a bootstrap interval over examples, and probabilities are judged before and after temperature scaling.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError, problem
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    from ftbench.metrics.base import Metric, Predictions
    from ftbench.stages.score_calibration import Stored


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
    """Inputs `predictions`, `audit`, and `duplicates` of the task, which may be left out; outputs `calibration`
    and `metrics`. An artifact that failed gives tables without rows."""
    from ftbench.metrics.stored import audited, distinct_rows
    from ftbench.stages.score_calibration import calibration_rows, scaling_of
    from ftbench.tables.store import read_table, write_table

    sets = _read(read_table("predictions", inputs["predictions"]), audited(inputs["audit"]), inputs["predictions"])
    duplicates = read_table("duplicates", inputs["duplicates"]) if "duplicates" in inputs else None
    scaling = scaling_of(sets)
    rows: list[dict[str, Any]] = []
    calibration: list[dict[str, Any]] = []
    for stored in sets:
        predictions, label_map = stored.predictions, None
        if stored.about["kind"] == "classification":
            label_map = stored.about["map"]["rule"] if stored.about.get("map") else "identity"
        common = {
            "artifact_id": spec.artifact,
            "eval_set": stored.eval_set,
            **spec.model_dump(include={"study", "task", "model", "artifact_kind", "method", "variant", "seed"}),
            "role": stored.role,
            "n": len(predictions),
            "label_map": label_map,
            "resamples": spec.resamples,
        }
        # a prior task has labels of its own, so the task's metrics need not fit it
        chosen = _metrics([] if stored.role == "prior" else spec.metrics, predictions.kind)
        distinct = distinct_rows(stored.part, duplicates, stored.eval_set)
        for metric in chosen:
            row = _scored(metric, predictions, spec, stored.eval_set, stored.where)
            rows.append({**common, **row, **_distinct(metric, predictions, distinct, row["value"])})
        calibration += calibration_rows(stored, scaling, common)
    write_table("calibration", calibration, outputs["calibration"])
    write_table("metrics", rows, outputs["metrics"])


def _read(table: Any, audit: Mapping[str, Any], file: Path) -> list[Stored]:
    """The labelled sets of the table `predictions`, in its order."""
    from pyarrow import compute

    from ftbench.metrics.stored import stored_predictions
    from ftbench.stages.score_calibration import Stored
    from ftbench.tables.store import metadata

    header, found = metadata(table), []
    for eval_set in table.column("eval_set").unique().to_pylist():
        part = table.filter(compute.equal(table.column("eval_set"), eval_set))
        role = part.column("role")[0].as_py()
        where = f"{file}, set `{eval_set}`"
        if eval_set not in audit["sets"]:
            raise FtbenchError(problem(file=where, found="a set that the audit does not know", fix="Run `audit`."))
        about = audit["sets"][eval_set]
        if not about.get("labelled", True):
            continue  # nothing to hold the predictions against; `detect` reads them
        head = header.get("prior_labels" if role == "prior" else "labels") or []
        predictions = stored_predictions(part, head, about, where)
        found.append(Stored(eval_set, role, part, head, about, predictions, where))
    return found


def _metrics(names: list[str], kind: str) -> list[Metric]:
    from ftbench.metrics.base import DEFAULTS
    from ftbench.plugins import plugin

    return [plugin("metrics", name).factory() for name in names or DEFAULTS[kind]]


def _distinct(metric: Metric, predictions: Predictions, rows: Any, value: float | None) -> dict[str, Any]:
    """The score of `rows` (numbers of distinct rows, null where nothing is known of duplicates)."""
    import math

    if rows is None:
        return {}
    if len(rows) < len(predictions):
        found = metric.score(predictions.take(rows)) if len(rows) else math.nan
        value = found if math.isfinite(found) else None
    return {"value_distinct": value, "n_distinct": len(rows)}


def _scored(metric: Metric, predictions: Predictions, spec: Spec, eval_set: str, where: str) -> dict[str, Any]:
    """The columns of one score; an undefined score is null and has no interval."""
    import math

    from ftbench.metrics.resampling import generator_for, percentile_interval

    obstacle = metric.obstacle(predictions)
    if obstacle:
        raise FtbenchError(f"{where}: metric `{metric.name}` {obstacle}. Change `metrics` of the task.")
    value: float | None = metric.score(predictions)
    interval, reason = None, None
    if value is None or not math.isfinite(value):
        value, reason = None, metric.undefined(predictions) or "undefined on these rows"
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
        "reason": reason,
    }
