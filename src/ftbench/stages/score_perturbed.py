"""Stage `score_perturbed`: predictions of edited texts become scores by perturbation and strength.

Runs on a CPU without the model. Every score stands beside that of the same rows unedited, and every difference is
paired by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import pyarrow as pa

    from ftbench.metrics.base import Metric, Predictions


class Scored(Strict):
    """One perturbation as the study describes it."""

    plugin: str
    config: dict[str, Any]
    strengths: list[float]
    seeds: list[int]


class Spec(Strict):
    """What is scored and how."""

    artifact: str
    study: str
    task: str
    model: str
    artifact_kind: Literal["run", "soup"]
    method: str | None = None
    variant: str | None = None
    seed: int | None = None
    metric: str
    perturbations: dict[str, Scored]
    resamples: int = Field(1000, ge=0, description="bootstrap resamples over examples; 0: no intervals")


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `predictions`, `audit`; output `scores`. An artifact that failed gives a table without rows."""
    from ftbench.metrics.stored import audited
    from ftbench.plugins import plugin
    from ftbench.stages.perturb import CLEAN
    from ftbench.tables.store import metadata, read_table, write_table

    table = read_table("perturbed_predictions", inputs["predictions"])
    labels, sets = metadata(table).get("labels") or [], audited(inputs["audit"])["sets"]
    metric = plugin("metrics", spec.metric).factory()
    rows: list[dict[str, Any]] = []
    for eval_set in table.column("eval_set").unique().to_pylist():
        about = sets[eval_set]
        part = _where(table, eval_set=eval_set)
        where = f"{inputs['predictions']}, set `{eval_set}`"
        whole = _where(part, perturbation=CLEAN)
        for name in part.column("perturbation").unique().to_pylist():
            if name == CLEAN:
                continue
            if name not in spec.perturbations:
                raise FtbenchError(
                    f"{where}: found the perturbation `{name}`, which is not scored; run `perturb` again"
                )
            own = _where(part, perturbation=name)
            common = {
                "artifact_id": spec.artifact, "eval_set": eval_set, "perturbation": name, "role": about["role"],
                **spec.model_dump(include={"study", "task", "model", "artifact_kind", "method", "variant", "seed"}),
            }  # fmt: skip
            rows += [
                {**common, **row} for row in _curve_rows(spec, name, metric, own, whole, eval_set, labels, about, where)
            ]
    write_table("perturbations", rows, outputs["scores"])


def _where(table: pa.Table, **wanted: Any) -> pa.Table:
    from pyarrow import compute

    for column, value in wanted.items():
        table = table.filter(compute.equal(table.column(column), value))
    return table


def _curve_rows(
    spec: Spec,
    name: str,
    metric: Metric,
    own: pa.Table,
    whole: pa.Table,
    eval_set: str,
    labels: list[str],
    about: Mapping[str, Any],
    where: str,
) -> list[dict[str, Any]]:
    """One row a strength, 0 included, of one perturbation on one set."""
    import numpy as np
    from pyarrow import compute

    from ftbench.metrics.resampling import generator_for
    from ftbench.metrics.under_perturbation import TOLERANCE, curve, failures
    from ftbench.plugins import plugin

    entry = spec.perturbations[name]
    factory = plugin("perturbations", entry.plugin).factory
    edit = factory(factory.Config.model_validate(entry.config))
    groups = {
        strength: [_where(own, strength=strength, seed=seed) for seed in entry.seeds] for strength in entry.strengths
    }
    uids = groups[entry.strengths[0]][0].column("uid")
    if any(part.column("uid").to_pylist() != uids.to_pylist() for parts in groups.values() for part in parts):
        raise FtbenchError(f"{where}: found other rows at some strength or seed of `{name}`; run `perturb` again")
    place = compute.index_in(uids, value_set=whole.column("uid").combine_chunks())
    if place.null_count:
        raise FtbenchError(f"{where}: found rows of `{name}` that are not predicted unedited; run `perturb` again")
    clean = _predictions(whole.take(place), labels, about, where)
    edited = {
        strength: [_predictions(part, labels, about, where) for part in parts] for strength, parts in groups.items()
    }
    generator = generator_for(spec.artifact, eval_set, spec.metric, "perturbed")
    found = curve(metric, clean, edited, generator, spec.resamples) if factory.keeps_label else None
    expected = edit.expectation
    rows = []
    for number, strength in enumerate([0.0, *entry.strengths]):
        changed = [part.column("changed").to_numpy(zero_copy_only=False) for part in groups.get(strength, [])]
        rate = None
        if clean.kind == "classification" and any(mask.any() for mask in changed):
            failed = [failures(clean, one, expected)[mask] for one, mask in zip(edited[strength], changed, strict=True)]
            rate = float(np.concatenate(failed).mean())
        same = expected.direction == "same"
        rows.append(
            {
                "strength": strength, "plugin": entry.plugin, "expectation": expected.direction,
                "expected_label": expected.label, "seeds": entry.seeds, "metric": spec.metric,
                "higher_is_better": metric.higher_is_better, "unit": metric.unit, "n": len(clean),
                "changed_share": float(np.mean(np.concatenate(changed))) if changed else 0.0,
                "invariance_failure_rate": rate if same else None, "direction_failure_rate": None if same else rate,
                "tolerance": TOLERANCE, "resamples": spec.resamples,
                **(_scores(found, number, metric) if found else {}),
            }
        )  # fmt: skip
    return rows


def _predictions(part: pa.Table, labels: list[str], about: Mapping[str, Any], where: str) -> Predictions:
    """Stored logits of some rows, read in the labels of their set."""
    import numpy as np
    from pyarrow import compute

    from ftbench.data.labels import map_logits
    from ftbench.metrics.base import Predictions

    outputs = compute.list_flatten(part.column("logits")).to_numpy().astype("float64").reshape(part.num_rows, -1)
    whole = np.zeros(0, dtype=np.int64)
    if about["kind"] == "regression":
        gold = part.column("gold_value").to_numpy(zero_copy_only=False)
        return Predictions("regression", (), whole, whole, np.zeros((0, 0)), gold, outputs[:, 0])
    names = list(about["labels"])
    pred, probabilities = map_logits(outputs, labels, names, about.get("map"), where)
    index = {name: number for number, name in enumerate(names)}
    gold = np.array([index[name] for name in part.column("gold").to_pylist()], dtype=np.int64)
    none = np.zeros(0)
    return Predictions("classification", tuple(names), gold, np.asarray(pred), probabilities, none, none)


def _scores(found: Any, number: int, metric: Metric) -> dict[str, Any]:
    """Score, drop and area of one point of a curve, each with the interval of its bootstrap samples."""
    import math

    from ftbench.metrics.resampling import percentile_interval

    sign = 1 if metric.higher_is_better else -1
    values = {
        "value": (float(found.scores[number]), found.samples[:, number]),
        "drop": (
            sign * float(found.scores[0] - found.scores[number]),
            sign * (found.samples[:, 0] - found.samples[:, number]),
        ),
        "area": (found.area, found.area_samples),
    }
    columns: dict[str, Any] = {"clean_value": _finite(float(found.scores[0]))}
    for name, (value, samples) in values.items():
        interval = percentile_interval(samples) if math.isfinite(value) else None
        columns[name] = _finite(value)
        low, high = ("ci_low", "ci_high") if name == "value" else (f"{name}_low", f"{name}_high")
        columns[low], columns[high] = interval if interval else (None, None)
    return columns


def _finite(value: float) -> float | None:
    import math

    return value if math.isfinite(value) else None
