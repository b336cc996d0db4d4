"""Stage `collect`: the results of all cells of a study become its tables.

It builds from whatever exists in the results folder. A cell of the study without a result is a row with a
reason, in `missing` and, for runs and soups, in their own tables too; nothing outside the study is picked
up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench import matrix
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import pyarrow as pa

    from ftbench.config.study import Study
    from ftbench.tables.scan import Scan


class Spec(Strict):
    """The study that is collected; `resolved` is its canonical content."""

    study: str
    resolved: dict[str, Any]


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Input `results`, the study's folder; one output for each name in `paths.COLLECTED`.

    The optional input `outdated` names results that are there but belong to older settings or inputs, as stage
    to cell to reason; they count as missing. A complete run of the workflow leaves none.
    """
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow as pa

    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.paths import StudyPaths
    from ftbench.stages.collect_attacks import copy_attacks, transfer_rows
    from ftbench.stages.collect_calibration import write_calibration
    from ftbench.stages.collect_detection import write_detection
    from ftbench.stages.collect_prior import copy_samples, forgetting_rows
    from ftbench.tables.scan import NOT_RUN, Scan, json_object
    from ftbench.tables.store import empty, write_table
    from ftbench.tables.unavailable import unavailable

    study = validated(Study, spec.resolved, f"study {spec.study}")
    outdated = json_object(inputs["outdated"]) if "outdated" in inputs else None
    places = StudyPaths(inputs["results"])
    scan = Scan(places, outdated=outdated or {}, unavailable=unavailable(places, study))
    # the files of scores, by far the most, are read from here on while the rest is looked at
    threads = ThreadPoolExecutor(pa.cpu_count())
    artifacts = {cell.artifact: {"study": spec.study, **matrix.identity(cell)} for cell in matrix.scored(study)}
    metrics, calibration = (scan.reading(name, artifacts, threads) for name in ("metrics", "calibration"))
    threads.shutdown(wait=False)  # nothing more is given to them
    kept = ("paths", "barriers", "task_vectors", "overlap", "similarity", "perturbations")
    tables: dict[str, list[pa.Table]] = {name: [empty(name)] for name in kept}

    def keep(name: str, table: pa.Table | None) -> None:
        if table is not None:
            tables[name].append(table.replace_schema_metadata(None))

    copy_samples(study, scan, outputs["pretrain_samples"])
    _before_the_cells(study, scan, keep)
    rows: dict[str, list[dict[str, Any]]] = {"soups": [], "soup_ingredients": [], "tuning": []}
    rows["rehearsal_trace"] = []
    for tuned in matrix.tunings(study):
        rows["tuning"] += _tuning_rows(tuned, spec.study, scan)
    runs, run_table = _run_rows(study, spec.study, scan, rows["rehearsal_trace"])
    files = {row["run_id"]: scan.scores(row["run_id"], _waiting(row, "finetune")) for row in runs}
    for soup in matrix.soups(study):
        row, ingredients = _soup_rows(soup, spec.study, study.soups[soup.family].recipe, scan)
        rows["soups"].append(row)
        rows["soup_ingredients"] += ingredients
        files[soup.artifact] = scan.scores(soup.artifact, _waiting(row, "soup"))
    for ensemble in matrix.ensembles(study):
        files[ensemble.artifact] = scan.scores(ensemble.artifact, None)
    for line in matrix.lines(study):
        place = {"task": line.task, "model": line.model, "path": line.name}
        for name, pattern in (
            ("paths", "path_points"),
            ("barriers", "path_barriers"),
            ("task_vectors", "path_vectors"),
        ):
            keep(name, scan.table(name, scan.places.path(pattern, **place), line.artifact, "path"))
    for base in matrix.bases(study):
        files[base.artifact] = scan.scores(base.artifact, None)
    present = [artifact for artifact, file in files.items() if file is not None]
    scores = metrics.of(present)
    for artifact in present:
        if artifact in scores.refused or artifact in scores.absent:  # absent: it came after the reading began
            scan.absent(artifact, "score", scores.refused.get(artifact, NOT_RUN))
    scored = set(present) - set(scores.refused) - scores.absent
    for cell in matrix.perturbed(study):
        keep("perturbations", scan.perturbed(cell.artifact, cell.artifact in scored))
    rows["forgetting"] = forgetting_rows(study, spec.study, scan, scored)
    rows["attack_scores"] = copy_attacks(study, spec.study, scan, outputs["attacks"])
    rows["transfer"] = list(transfer_rows(study, spec.study, scan, outputs["attacks"]))
    print(f"{len(runs)} runs, scores of {len(present)} artifacts, of which {scores.read} were read now", flush=True)

    write_table("runs", run_table, outputs["runs"])
    write_table("metrics", scores.table, outputs["metrics"])
    scores.keep(outputs["metrics"])
    owners = [artifact for artifact in present if artifact in scored]
    write_calibration(calibration.of(owners), owners, scan, outputs["calibration"])
    write_detection(study, scan, scored, outputs["detection"])
    for name, content in rows.items():
        write_table(name, content, outputs[name])
    for name, parts in tables.items():
        write_table(name, pa.concat_tables(parts), outputs[name])
    write_table("missing", scan.missing, outputs["missing"])


def _waiting(row: Mapping[str, Any], stage: str) -> str | None:
    return stage if row["status"] == "missing" else None


def _before_the_cells(study: Study, scan: Scan, keep: Any) -> None:
    """Tables and failures of the stages that cells depend on: told first, because they explain the rest."""
    from ftbench.data.availability import PREFIX

    names = {*study.tasks, *study.models, *(task.train.dataset for task in study.tasks.values())}
    names |= {item.dataset for task in study.tasks.values() for item in task.evaluate.values()}
    if study.prior:
        names |= {study.prior.name, study.prior.dataset}
    for task in study.tasks:
        for name, stage in (("overlap", "audit"), ("similarity", "shift")):
            keep(name, scan.table(name, scan.places.path(name, task=task), task, stage))
        for eval_set, reason in scan.absent_sets(task).items():
            scan.note(f"{task}/{eval_set}", "audit", reason, None)
    for name, item in study.absent_tasks.items():
        for dataset in item.datasets:
            scan.note(f"{name}/{dataset}", "task", f"{PREFIX}{item.reason}", None)
    scan.earlier_failures(names)


def _run_rows(
    study: Study, name: str, scan: Scan, traces: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], pa.Table]:
    """One row for every run that the study asks for, and the table of them; `traces` gets the rehearsals of valid ones.
    All rows are checked together, and one by one only where something is wrong."""
    from ftbench.config.errors import FtbenchError
    from ftbench.stages.collect_prior import trace_rows
    from ftbench.tables.schema import RUNS
    from ftbench.tables.store import checked

    columns = frozenset(RUNS.names)
    found: list[tuple[dict[str, Any], Path, dict[str, Any] | str]] = []
    for cell in matrix.runs(study):
        identity = {"run_id": cell.artifact, "study": name, **cell.__dict__}
        file = scan.places.path("run", **cell.__dict__)
        found.append((identity, file, scan.record(file, cell.artifact, "finetune", identity)))
    rows = [_row(columns, identity, record) for identity, _, record in found]
    try:
        table = checked(RUNS.name, rows, scan.places.root)
    except FtbenchError:
        rows = [
            _checked(RUNS.name, identity, record, cell=identity["run_id"], stage="finetune", file=file, scan=scan)
            for identity, file, record in found
        ]
        table = checked(RUNS.name, rows, scan.places.root)
    for row, (identity, _, record) in zip(rows, found, strict=True):
        if row["status"] != "missing" and not isinstance(record, str):
            traces += trace_rows(record, identity)
        if row["status"] == "failed":
            scan.absent(row["run_id"], "finetune", f"training failed: {row.get('error') or 'no reason recorded'}")
    return rows, table


def _row(columns: frozenset[str], identity: Mapping[str, Any], record: dict[str, Any] | str) -> dict[str, Any]:
    """A row from a record, or one with status missing and the reason."""
    if isinstance(record, str):
        return {**identity, "status": "missing", "error": record}
    return {**{key: value for key, value in record.items() if key in columns}, **identity}


def _tuning_rows(cell: Any, study: str, scan: Scan) -> list[dict[str, Any]]:
    """One row a setting and seed; none, and rows in `missing`, where the choice has not been made."""
    identity = {"study": study, **cell.__dict__}
    found = scan.record(scan.places.path("tuned", **cell.__dict__), cell.cell, "tune", identity)
    if isinstance(found, str):
        scan.failures_below(cell.cell)
        return []
    return [
        {
            **identity,
            "trial": row["trial"],
            "seed": seed,
            "settings_json": json.dumps(row["settings"], sort_keys=True),
            "status": status,
            "select_metric": found["select_metric"],
            "select_score": score,
            "mean_score": row["mean_score"],
            "chosen": row["trial"] == found["chosen"],
            "n_trials": len(found["trials"]),
        }
        for row in found["trials"]
        for seed, status, score in zip(found["seeds"], row["statuses"], row["scores"], strict=True)
    ]


def _soup_rows(cell: Any, study: str, recipe: str, scan: Scan) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from ftbench.config.errors import FtbenchError
    from ftbench.tables.families import SOUP_INGREDIENTS, SOUPS
    from ftbench.tables.store import checked

    columns = ("task", "model", "method", "variant", "family")
    identity = {"study": study, "recipe": recipe, **{name: getattr(cell, name) for name in columns}}
    file = scan.places.path("recipe", task=cell.task, model=cell.model, soup=cell.name)
    record = scan.record(file, cell.artifact, "soup", {**identity, "soup_id": cell.artifact})
    known = {**identity, "soup_id": cell.artifact}
    ingredients: list[dict[str, Any]] = []
    if not isinstance(record, str):
        given = [{"soup_id": cell.artifact, **item} for item in record.get("ingredients") or []]
        try:
            ingredients = checked(SOUP_INGREDIENTS.name, given, file).to_pylist()
        except FtbenchError as error:
            record = scan.absent(cell.artifact, "soup", str(error))
    row = _checked(SOUPS.name, known, record, cell=cell.artifact, stage="soup", file=file, scan=scan)
    if row["status"] == "failed":
        scan.absent(cell.artifact, "soup", f"soup failed: {row['error'] or 'no reason recorded'}")
    return row, ingredients if row["status"] != "missing" else []


def _checked(
    table: str,
    identity: Mapping[str, Any],
    record: dict[str, Any] | str,
    *,
    cell: str,
    stage: str,
    file: Path,
    scan: Scan,
) -> dict[str, Any]:
    """A valid row of `table` from a record, or a row with status missing and the reason."""
    from ftbench.config.errors import FtbenchError
    from ftbench.tables.schema import table as table_named
    from ftbench.tables.store import checked

    if not isinstance(record, str):
        known = {name: record[name] for name in table_named(table).names if name in record}
        try:
            row: dict[str, Any] = checked(table, [{**known, **identity}], file).to_pylist()[0]
            return row
        except FtbenchError as error:
            record = scan.absent(cell, stage, str(error))
    return {**identity, "status": "missing", "error": record}
