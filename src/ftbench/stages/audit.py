"""Stage `audit`: the evaluation rows of one task, their label contract, and their overlap with the training set.

It fails loudly where an evaluation set has another label space than the task and no map, before any artifact
is predicted on it. Rows that stand in the training set too are listed and stay; `score` scores without them as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.dataset import LabelMap, Role
from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict

MUCH = 0.01  # share of a set that may stand in the training set without a warning


class SetSpec(Strict):
    """One evaluation set as the study and the data-set entry describe it."""

    dataset: str
    split: str
    role: Role
    kind: str
    labels: list[str] = []
    rows: int | None = None
    map: LabelMap | None = None
    labelled: bool = True  # false: its rows have no label of the task, whatever the data set calls them


class Spec(Strict):
    task: str
    kind: str
    labels: list[str]
    sets: dict[str, SetSpec]
    prior_labels: list[str] | None = None
    prior_pool: str | None = None  # split of the prior data set that no evaluated prior row may repeat


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    import pyarrow as pa
    from pyarrow import compute, parquet

    from ftbench.data.availability import PREFIX, reason_of
    from ftbench.data.overlap import EvaluationRows, overlap
    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.prior import hashes, without_pool_texts
    from ftbench.data.sampling import strata_of, stratified
    from ftbench.tables.store import write_table
    from ftbench.training.seeds import numpy_generator

    train = read_parquet_file(inputs["train"])
    pool_texts: set[str] | None = None  # what a run may rehearse; None: nothing
    parts = [_labelled(read_parquet_file(inputs["select"]), "select", "select")]
    described: dict[str, Any] = {
        "select": {
            "role": "select",
            "dataset": None,
            "split": None,
            "labels": spec.labels,
            "kind": spec.kind,
            "map": None,
        }
    }
    absent: dict[str, str] = {}  # evaluation sets that cannot be had, with the reason
    for name, wanted in spec.sets.items():
        where = f"task {spec.task}, evaluation set `{name}` ({wanted.dataset})"
        prepared = read_parquet_file(inputs[f"set_{wanted.dataset}"])
        if (reason := reason_of(prepared)) is not None:
            absent[name] = f"{PREFIX}data set {wanted.dataset}: {reason}"
            print(f"{name}: {absent[name]}", flush=True)
            continue
        rows = prepared.filter(compute.equal(prepared.column("split"), wanted.split)).drop_columns(["split"])
        if rows.num_rows == 0:
            known = sorted(set(prepared.column("split").to_pylist()))
            raise FtbenchError(f"{where}: found no rows in split `{wanted.split}`; the data have the splits {known}")
        if wanted.role == "prior" and spec.prior_pool:
            pool = prepared.filter(compute.equal(prepared.column("split"), spec.prior_pool))
            pool_texts = set(hashes(pool))
            rows = without_pool_texts(rows, pool)
            if rows.num_rows == 0:
                raise FtbenchError(
                    f"{where}: found no row of split `{wanted.split}` whose text is not in the pool "
                    f"`{spec.prior_pool}`. Name another split under `prior.evaluation`."
                )
        elif not wanted.labelled:
            rows = _without_labels(rows)
        elif wanted.kind != spec.kind:
            raise FtbenchError(f"{where}: found a {wanted.kind} set; the task is a {spec.kind}")
        elif spec.kind == "classification" and set(wanted.labels) != set(spec.labels) and wanted.map is None:
            raise FtbenchError(
                f"{where}: found the labels {wanted.labels}; the task has {spec.labels}, and the entry has no map "
                f"from them. Add one under `maps` of the data set, for example "
                f"{{rule: argmax_then_merge, to: {{{', '.join(f'{label}: ...' for label in spec.labels)}}}}}."
            )
        if wanted.rows and wanted.rows < rows.num_rows:
            strata = strata_of(rows.column("label").to_pylist(), rows.column("value").to_pylist())
            rows = rows.take(stratified(strata, wanted.rows, numpy_generator(0, "evaluation", name)))
        parts.append(_labelled(rows, name, wanted.role))
        described[name] = wanted.model_dump(mode="json", exclude={"rows"})
    evaluation = pa.concat_tables(parts)
    parquet.write_table(evaluation, outputs["evaluation"], compression="zstd")
    for name, rows in ((name, part) for name, part in zip(described, parts, strict=True)):
        described[name]["rows"] = rows.num_rows
    sets = [EvaluationRows(name, part, described[name]) for name, part in zip(described, parts, strict=True)]
    counts, duplicates = overlap(spec.task, train, sets, pool_texts, lambda text: print(text, flush=True))
    write_table("overlap", counts, outputs["overlap"])
    write_table("duplicates", duplicates, outputs["duplicates"])
    record = {
        "task": spec.task,
        "kind": spec.kind,
        "labels": spec.labels,
        "prior_labels": spec.prior_labels,
        "sets": described,
        "absent": absent,
    }
    outputs["record"].write_text(json.dumps(record, indent=1))
    _warn(counts)


def _warn(counts: list[dict[str, Any]]) -> None:
    """Print what a reader of the log should know of shared rows."""
    for row in counts:
        for share, what in (("exact_share", "also stands in"), ("near_share", "stands or nearly stands in")):
            if row[share] > MUCH:
                print(f"warning: {row[share]:.1%} of `{row['eval_set']}` {what} the training set", flush=True)
        if row["pool_rows"]:
            print(
                f"warning: {row['pool_rows']} rows of `{row['eval_set']}` also stand in the rehearsal pool, which the "
                "model has been trained on",
                flush=True,
            )


def _without_labels(rows: Any) -> Any:
    """The rows without the labels that their own data set gives them, which are none of the task's."""
    import pyarrow as pa

    for name in ("label", "value"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, pa.nulls(rows.num_rows, rows.schema.field(name).type))
    return rows


def _labelled(rows: Any, name: str, role: str) -> Any:
    import pyarrow as pa

    count = rows.num_rows
    rows = rows.append_column("eval_set", pa.array([name] * count, pa.string()))
    return rows.append_column("role", pa.array([role] * count, pa.string()))
