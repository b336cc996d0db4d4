"""From a number to where it came from: `ftbench show --why`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ftbench import matrix
from ftbench.config.errors import FtbenchError
from ftbench.reading.folders import ResultsFolder


def origins(
    folder: ResultsFolder, task: str | None = None, method: str | None = None, metric: str | None = None
) -> Iterator[str]:
    """Lines on every run that fits: its scores, folder, log, settings, code and predictions; or why it has none."""
    from pyarrow import compute

    runs, metrics = folder.table("runs"), folder.table("metrics")
    missing = folder.table("missing")
    assert metrics is not None
    reasons = {row["artifact_id"]: row for row in reversed(missing.to_pylist())} if missing is not None else {}
    chosen = [
        row
        for row in (runs.to_pylist() if runs is not None else [])
        if task in (None, row["task"]) and method in (None, row["method"], f"{row['method']}/{row['variant']}")
    ]
    if not chosen:
        raise FtbenchError(f"found no run of task {task or 'any'} and method {method or 'any'} in {folder.tables.root}")
    for row in chosen:
        own = metrics.filter(compute.equal(metrics.column("artifact_id"), row["run_id"])).to_pylist()
        yield from _lines(folder, row, [one for one in own if metric in (None, one["metric"])], reasons)


def _lines(
    folder: ResultsFolder, row: dict[str, Any], scores: list[dict[str, Any]], reasons: dict[str, Any]
) -> Iterator[str]:
    run = row["run_id"]
    cell = matrix.Run(row["task"], row["model"], row["method"], row["variant"], row["seed"])
    yield f"{run}: {row['status']}" + (f" ({row['error']})" if row["error"] else "")
    for score in scores:
        value = "undefined" if score["value"] is None else f"{score['value']:.4f}"
        span = "" if score["ci_low"] is None else f" ({score['ci_low']:.4f} to {score['ci_high']:.4f})"
        yield f"  {score['metric']} on {score['eval_set']} ({score['role']}, {score['n']} rows): {value}{span}"
    if not scores and run in reasons:
        yield f"  no score: {reasons[run]['stage']}: {reasons[run]['reason']}"
    for word, name in (("record", "run"), ("training log", "run_log")):
        file = folder.places.path(name, **cell.__dict__)
        yield f"  {word}: {file}" + ("" if file.is_file() else " (not here)")
    for stage in ("finetune", "predict", "score", "predict_perturbed", "score_perturbed"):
        file = folder.places.path("log", stage=stage, cell=run)
        if file.is_file():
            yield f"  log of {stage}: {file}"
    file = folder.places.path("predictions", artifact=run)
    yield f"  predictions: {file}" + ("" if file.is_file() else " (not here)")
    edited = " with edited files" if row["git_dirty"] else ""
    yield f"  code: {row['code_fingerprint'] or 'not recorded'}, commit {row['git_commit'] or 'not recorded'}{edited}"
    yield f"  device: {row['device'] or 'not recorded'}; started {row['started_at'] or 'not recorded'}"
    yield f"  weights: {row['checkpoint_sha256'] or 'not recorded'} (sha256)"
    if row["config_json"]:
        yield f"  settings: {json.dumps(json.loads(row['config_json']), sort_keys=True)}"
