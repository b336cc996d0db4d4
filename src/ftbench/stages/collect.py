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

from ftbench.config.strict import Strict

if TYPE_CHECKING:
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
    import pyarrow as pa

    from ftbench import matrix
    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.paths import StudyPaths
    from ftbench.stages.collect_prior import Forgetting, copy_samples, trace_rows
    from ftbench.tables.scan import Scan, json_object
    from ftbench.tables.store import empty, write_table

    study = validated(Study, spec.resolved, f"study {spec.study}")
    outdated = json_object(inputs["outdated"]) if "outdated" in inputs else None
    scan = Scan(StudyPaths(inputs["results"]), outdated=outdated or {})
    tables: dict[str, list[pa.Table]] = {name: [empty(name)] for name in ("metrics", "overlap")}

    def keep(name: str, table: pa.Table | None) -> bool:
        if table is not None:
            tables[name].append(table.replace_schema_metadata(None))
        return table is not None

    copy_samples(study, scan, outputs["pretrain_samples"])
    _before_the_cells(study, scan, keep)
    rows: dict[str, list[dict[str, Any]]] = {"runs": [], "soups": [], "soup_ingredients": [], "tuning": []}
    rows |= {"forgetting": [], "rehearsal_trace": []}
    lost = Forgetting(study, spec.study, scan)
    for tuned in matrix.tunings(study):
        rows["tuning"] += _tuning_rows(tuned, spec.study, scan)
    for cell in matrix.runs(study):
        row, record = _run_row(cell, spec.study, scan)
        rows["runs"].append(row)
        rows["rehearsal_trace"] += trace_rows(record, cell, spec.study)
        if keep("metrics", scan.metrics(cell.artifact, "finetune" if row["status"] == "missing" else None)):
            rows["forgetting"] += lost.rows(cell, "run")
    for soup in matrix.soups(study):
        row, ingredients = _soup_rows(soup, spec.study, study.soups[soup.family].recipe, scan)
        rows["soups"].append(row)
        rows["soup_ingredients"] += ingredients
        if keep("metrics", scan.metrics(soup.artifact, "soup" if row["status"] == "missing" else None)):
            rows["forgetting"] += lost.rows(soup, "soup")
    for base in matrix.bases(study):
        keep("metrics", scan.metrics(base.artifact, None))

    for name, content in rows.items():
        write_table(name, content, outputs[name])
    for name, parts in tables.items():
        write_table(name, pa.concat_tables(parts), outputs[name])
    write_table("missing", scan.missing, outputs["missing"])


def _before_the_cells(study: Study, scan: Scan, keep: Any) -> None:
    """Tables and failures of the stages that cells depend on: told first, because they explain the rest."""
    names = {*study.tasks, *study.models, *(task.train.dataset for task in study.tasks.values())}
    names |= {item.dataset for task in study.tasks.values() for item in task.evaluate.values()}
    if study.prior:
        names |= {study.prior.name, study.prior.dataset}
    for task in study.tasks:
        keep("overlap", scan.table("overlap", scan.places.path("overlap", task=task), task, "audit"))
    scan.earlier_failures(names)


def _run_row(cell: Any, study: str, scan: Scan) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's row of the table, and its record, empty where there is none."""
    from ftbench.tables.schema import RUNS

    identity = {"run_id": cell.artifact, "study": study, **cell.__dict__}
    file = scan.places.path("run", **cell.__dict__)
    record = scan.record(file, cell.artifact, "finetune", identity)
    row = _checked(RUNS.name, identity, record, cell=cell.artifact, stage="finetune", file=file, scan=scan)
    if row["status"] == "failed":
        scan.absent(cell.artifact, "finetune", f"training failed: {row['error'] or 'no reason recorded'}")
    return row, {} if isinstance(record, str) or row["status"] == "missing" else record


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
    from ftbench.tables.schema import SOUP_INGREDIENTS, SOUPS
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
