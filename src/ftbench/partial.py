"""Tables and report from what exists, after some jobs of a study have failed.

The workflow's tables wait for every cell. When a cell has failed, this runs the same three stages on what is
there, so that nothing that was computed stays unread. They go to a folder of their own: in the place of the
complete tables they would pass for these, and the workflow would see nothing left to do.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from ftbench import finished, matrix
from ftbench.data_jobs import PlannedJob
from ftbench.paths import COLLECTED, COMPARED, PAGES, StudyPaths
from ftbench.plan import Plan
from ftbench.stage import execute

OLDER_SETTINGS = "its result was made with other settings or sources, and its new job has not ended"
OLDER_INPUTS = "its result was made from inputs that have changed since, and its new job has not ended"


def build_tables(study: str) -> Iterator[str]:
    """Run `collect`, `compare` and `report` now; yields lines that say what was written and what is missing."""
    from pyarrow import parquet

    plan = Plan.load(study)
    places = plan.paths.partial
    listed = plan.paths.work / "outdated.json"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text(json.dumps(outdated(plan)))
    tables = {name: places.path("tables", table=name) for name in (*COLLECTED, *COMPARED)}
    for stage, outputs in (
        ("collect", {name: tables[name] for name in COLLECTED}),
        ("compare", {name: tables[name] for name in COMPARED}),
        ("report", {page: places.path("report", page=page) for page in PAGES}),
    ):
        job = plan.job(stage)
        inputs = {"results": plan.paths.root, "outdated": listed}
        if stage != "collect":
            inputs = {name: tables.get(name, Path(path)) for name, path in job.inputs.items()}
        execute(stage, job.spec.model_dump(mode="json"), inputs, outputs, plan.paths.work, job.source)
    missing = parquet.read_table(tables["missing"]).to_pylist()
    yield f"tables from what exists: {places.root}/tables, {len(missing)} missing"
    for row in missing[:10]:
        yield f"  {row['stage']} {row['artifact_id']}: {row['reason']}"
    if len(missing) > 10:
        yield f"  ... and {len(missing) - 10} more, in missing.parquet"


def newest(paths: StudyPaths) -> StudyPaths:
    """Where the newest tables of a study are: the complete ones, or those built after a failure since."""
    complete, partial = (place.path("tables", table="runs") for place in (paths, paths.partial))
    if partial.is_file() and (not complete.is_file() or _time(partial) > _time(complete)):
        return paths.partial
    return paths


def forget(paths: StudyPaths) -> None:
    """Remove what was built or kept because of a failure; the workflow calls it when it is complete."""
    shutil.rmtree(paths.partial.root, ignore_errors=True)
    finished.forget(paths.work)


def _time(file: Path) -> int:
    return file.stat().st_mtime_ns


def outdated(plan: Plan) -> dict[str, dict[str, str]]:
    """Results that are there but do not belong to the present study, as stage to cell to reason."""
    found: dict[str, dict[str, str]] = {
        stage: {} for stage in ("finetune", "soup", "score", "score_perturbed", "attack")
    }
    for artifact, cell in plan.stages.artifacts.items():
        if isinstance(cell, matrix.Run):
            wildcards = {name: str(value) for name, value in cell.__dict__.items()}
            job, record = plan.job("finetune", **wildcards), plan.paths.path("run", **wildcards)
        elif isinstance(cell, matrix.SoupCell):
            place = {"task": cell.task, "model": cell.model, "soup": cell.name}
            job, record = plan.job("soup", **place), plan.paths.path("recipe", **place)
        else:
            continue
        if record.is_file():
            reason = _older(job, record)
            if reason:
                found[job.stage][artifact] = reason
    scored = [("predict", "score", artifact, "predictions", "metrics") for artifact in plan.stages.artifacts]
    scored += [
        ("predict_perturbed", "score_perturbed", cell.artifact, "perturbed_predictions", "perturbations")
        for cell in matrix.perturbed(plan.study)
    ]
    for first, second, artifact, predicted, made in scored:
        scores, predictions = (plan.paths.path(name, artifact=artifact) for name in (made, predicted))
        files = [Path(path) for stage in (first, second) for path in plan.job(stage, artifact=artifact).inputs.values()]
        if scores.is_file() and predictions.is_file():
            changed = any(file.is_file() and file != predictions and _time(file) > _time(predictions) for file in files)
            if changed or _time(predictions) > _time(scores):
                found[second][artifact] = OLDER_INPUTS
    for place in plan.attack_places():
        job, record = plan.job("attack", **place), plan.paths.path("attack", **place)
        reason = _older(job, record) if record.is_file() else None
        if reason:
            found["attack"][job.cell] = reason
    return found


def _older(job: PlannedJob, record: Path) -> str | None:
    content = json.loads(record.read_text())
    if content.get("config_json") != job.spec.canonical() or content.get("code_fingerprint") != job.source:
        return OLDER_SETTINGS
    if any(Path(file).is_file() and _time(Path(file)) > _time(record) for file in job.inputs.values()):
        return OLDER_INPUTS
    return None
