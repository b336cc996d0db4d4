"""The tables that a report is made from, read once.

The stage `report` and the command line load them here; the other modules of the report take a `Results` and
never open a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftbench.config.study import Study
from ftbench.data.availability import PREFIX

TABLES = (
    "runs", "metrics", "comparisons", "standings", "soups", "soup_ingredients", "paths", "barriers", "missing",
    "pareto", "rehearsal_trace", "perturbations", "shift", "trends", "robustness",
    "attacks", "attack_scores", "attack_comparisons", "transfer", "calibration", "detection",
)  # fmt: skip
# folders of older versions do not have these
LATER = (
    "perturbations", "shift", "trends", "robustness", "attack_scores", "attack_comparisons", "transfer", "attacks",
    "calibration", "detection",
)  # fmt: skip
# tables of many rows stay Arrow tables, and only with these columns
_ARROW = {
    "attacks": ("artifact_id", "attack", "eval_set", "gold", "pred_before", "status", "queries"),
}  # fmt: skip
Record = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """A study and the rows of its tables."""

    name: str
    study: Study
    runs: list[Record]
    metrics: list[Record]
    comparisons: list[Record]
    standings: list[Record]
    soups: list[Record]
    paths: list[Record]
    barriers: list[Record]
    soup_ingredients: list[Record]
    missing: list[Record]
    pareto: list[Record]
    rehearsal_trace: list[Record]
    perturbations: list[Record]
    shift: list[Record]
    trends: list[Record]
    robustness: list[Record]
    attacks: Any  # an Arrow table: it has a row for every attacked example, and its texts stay in the file
    attack_scores: list[Record]
    attack_comparisons: list[Record]
    transfer: list[Record]
    calibration: list[Record]
    detection: list[Record]


def load(name: str, study: Study, files: Mapping[str, Path]) -> Results:
    """Read and check the tables of a study; `files` maps each of `TABLES` to its Parquet file.

    Tables that came later are empty where a folder of an older version has no such file.
    """
    from ftbench.tables.store import empty, read_parquet_checked, read_table

    there = [table for table in TABLES if table not in LATER or files[table].is_file()]
    tables: dict[str, Any] = {
        **{table: [] for table in LATER},
        **{table: read_table(table, files[table]).to_pylist() for table in there if table not in _ARROW},
    }
    for table, columns in _ARROW.items():
        tables[table] = empty(table)
        if table in there:
            tables[table] = read_parquet_checked(files[table], f"the table `{table}`", list(columns))
    return Results(name, _available(study, tables["missing"]), **tables)


def _available(study: Study, missing: list[Record]) -> Study:
    """The study without the evaluation sets that are not available: they have no column, and no mean waits for them."""
    absent = {row["artifact_id"] for row in missing if row["stage"] == "audit" and row["reason"].startswith(PREFIX)}
    tasks = {}
    for name, task in study.tasks.items():
        kept = {item: about for item, about in task.evaluate.items() if f"{name}/{item}" not in absent}
        tasks[name] = task.model_copy(update={"evaluate": kept})
    return study.model_copy(update={"tasks": tasks})
