"""Small Parquet files, and the data stages run on them as plain functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ftbench.config.dataset import Fields
from ftbench.config.study import SelectSet, TrainSet
from ftbench.stages import audit, fetch, prepare, split

NAMES = {"negative": "negative", "positive": "positive"}


def rows(count: int, labels: Sequence[Any] = ("negative", "positive"), text: str = "text number") -> pa.Table:
    """`count` rows with different texts; the labels take turns."""
    return pa.table(
        {
            "sentence": [f"{text} {number}" for number in range(count)],
            "label": [labels[number % len(labels)] for number in range(count)],
        }
    )


def class_label(table: pa.Table, names: Sequence[str], column: str = "label") -> pa.Table:
    """The table with ClassLabel names in its metadata, as the hub's Parquet files have them."""
    features = {column: {"names": list(names), "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def fetched(folder: Path, tables: Mapping[str, pa.Table | Path], label: str | None = "label", **more: Any) -> Path:
    """Stage `fetch` on local files: the folder that holds `fetched.parquet` and `fetched.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {}
    for name, table in tables.items():
        inputs[name] = table if isinstance(table, Path) else folder / f"source-{name}.parquet"
        if not isinstance(table, Path):
            parquet.write_table(table, inputs[name])
    spec = fetch.Spec(
        dataset="reviews",
        local=sorted(tables),
        fields=more.pop("fields", Fields(text_a="sentence")),
        label=label,
        **more,
    )
    fetch.run(spec, inputs, {"fetched": folder / "fetched.parquet", "record": folder / "fetched.json"})
    return folder


def prepared(folder: Path, **settings: Any) -> tuple[pa.Table, dict[str, Any]]:
    """Stage `prepare` on what `fetched` left: the rows and the card."""
    spec = prepare.Spec(**{"dataset": "reviews", "kind": "classification", "labels": NAMES, **settings})
    inputs = {"fetched": folder / "fetched.parquet", "record": folder / "fetched.json"}
    prepare.run(spec, inputs, {"prepared": folder / "prepared.parquet", "card": folder / "card.json"})
    return parquet.read_table(folder / "prepared.parquet"), json.loads((folder / "card.json").read_text())


def cut(
    folder: Path, train: Mapping[str, Any] | None = None, select: Mapping[str, Any] | None = None, **settings: Any
) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
    """Stage `split` on what `prepared` left: training rows, selection rows, record."""
    spec = split.Spec(
        **{
            "task": "reviews", "kind": "classification", "labels": list(NAMES), "select_metric": "accuracy",
            "train": TrainSet(dataset="reviews", **(train or {})), "select": SelectSet(**(select or {})), **settings,
        }
    )  # fmt: skip
    outputs = {name: folder / f"{name}.parquet" for name in ("train", "select")} | {"record": folder / "split.json"}
    split.run(spec, {"prepared": folder / "prepared.parquet"}, outputs)
    tables = [parquet.read_table(outputs[name]) for name in ("train", "select")]
    return tables[0], tables[1], json.loads(outputs["record"].read_text())


def audited(
    folder: Path, sets: Mapping[str, audit.SetSpec], files: Mapping[str, Path], **settings: Any
) -> tuple[pa.Table, dict[str, dict[str, Any]], dict[str, Any]]:
    """Stage `audit`: evaluation rows, overlap by set, record. `files`: prepared rows by data set."""
    spec = audit.Spec(
        **{"task": "reviews", "kind": "classification", "labels": list(NAMES), "sets": dict(sets), **settings}
    )
    inputs = {"train": folder / "train.parquet", "select": folder / "select.parquet"}
    inputs |= {f"set_{name}": file for name, file in files.items()}
    outputs = {
        "evaluation": folder / "evaluation.parquet",
        "overlap": folder / "overlap.parquet",
        "duplicates": folder / "duplicates.parquet",
        "record": folder / "audit.json",
    }
    audit.run(spec, inputs, outputs)
    overlap = {row["eval_set"]: row for row in parquet.read_table(outputs["overlap"]).to_pylist()}
    return parquet.read_table(outputs["evaluation"]), overlap, json.loads(outputs["record"].read_text())
