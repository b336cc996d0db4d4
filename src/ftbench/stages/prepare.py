"""Stage `prepare`: raw rows to rows with uid, text and label name, and the data set's card."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.dataset import Kind
from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict


class Spec(Strict):
    """How raw values are read."""

    dataset: str
    kind: Kind
    labels: dict[str, str | int] = {}
    range: tuple[float, float] | None = None
    unlabelled: list[str | int] = []
    out_of_scope: list[str | int] = []  # label names or raw values of rows from outside the task
    outside: dict[str, str] = {}  # split to the split that its out-of-scope rows go to
    rows: dict[str, list[int]] = {}  # rows that a split may have: at the hub's revision, in the known local copy


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    from ftbench.data.availability import reason_of
    from ftbench.data.labelling import named, raw_values, value_names
    from ftbench.data.parquet import read_parquet_file

    record = json.loads(inputs["record"].read_text())
    table = read_parquet_file(inputs["fetched"])
    if (reason := reason_of(table)) is not None:
        parquet.write_table(table, outputs["prepared"])
        keys = ("origin", "repository", "revision", "digest", "not_available")
        card = {"dataset": spec.dataset, "kind": spec.kind, "labels": list(spec.labels), "splits": {}}
        card |= {"warnings": [f"not available: {reason}"], **{key: record[key] for key in keys}}
        outputs["card"].write_text(json.dumps(card, indent=1))
        return
    warnings = _row_counts(spec, record)
    names = value_names(spec.labels, record["label_names"], spec.dataset) if spec.kind == "classification" else {}
    if spec.kind == "classification" and record["label_names"] is None:
        warnings.append("the source gives no label names; its raw values are believed as the entry states them")
    columns: dict[str, list[Any]] = {key: [] for key in ("split", "uid", "text_a", "text_b", "label", "value", "aux")}
    splits: dict[str, Any] = {}
    unlabelled = {str(value) for value in spec.unlabelled}
    out_of_scope = raw_values(spec.out_of_scope, record["label_names"])
    for split in dict.fromkeys(table.column("split").to_pylist()):
        part = table.filter(pa.compute.equal(table.column("split"), split))
        raw = part.column("label_raw").to_pylist()
        labels: list[str | None] = [None] * part.num_rows
        values: list[float | None] = [None] * part.num_rows
        if spec.kind == "classification":
            labels = named(raw, names, unlabelled | out_of_scope, f"data set {spec.dataset}, split {split}")
        elif spec.kind == "regression":
            values = _scores(spec, split, raw, part.column("value").to_pylist(), unlabelled)
        further = part.column("aux").to_pylist()
        kept = Counter[str]()
        without_label = without_text = outside = 0
        pairs = part.column("text_b").null_count < part.num_rows
        for row, (text_a, text_b) in enumerate(
            zip(part.column("text_a").to_pylist(), part.column("text_b").to_pylist(), strict=True)
        ):
            stays = raw[row] in out_of_scope and split in spec.outside  # a row without label that is wanted as such
            if not stays and (
                (spec.kind == "classification" and labels[row] is None)
                or (spec.kind == "regression" and values[row] is None)
            ):
                without_label += 1
                continue
            if not text_a or (pairs and not text_b):
                without_text += 1
                continue
            place = spec.outside[split] if stays else split
            outside += stays
            kept[labels[row] or ""] += not stays
            columns["split"].append(place)
            columns["uid"].append(_uid(spec.dataset, place, row, text_a, text_b))
            columns["text_a"].append(text_a)
            columns["text_b"].append(text_b)
            columns["label"].append(labels[row])
            columns["value"].append(values[row])
            columns["aux"].append(further[row])
        splits[split] = {
            "rows": sum(kept.values()),
            "label_counts": {name: kept[name] for name in spec.labels} if spec.labels else None,
            "dropped_unlabelled": without_label,
            "dropped_without_text": without_text,
        }
        if split in spec.outside:
            nothing = dict.fromkeys(spec.labels, 0) if spec.labels else None
            splits[spec.outside[split]] = {
                "rows": outside, "label_counts": nothing, "dropped_unlabelled": 0, "dropped_without_text": 0,
            }  # fmt: skip
    absent = [name for name in spec.labels if not any(split["label_counts"][name] for split in splits.values())]
    if absent:
        raise FtbenchError(
            f"data set {spec.dataset}, key `labels`: found no row with {absent} in any split. "
            "Remove the label from the entry, or correct the raw value that stands for it."
        )
    types = {"value": pa.float64()}
    prepared = pa.table({key: pa.array(items, types.get(key, pa.string())) for key, items in columns.items()})
    parquet.write_table(prepared, outputs["prepared"], compression="zstd", row_group_size=16384)
    card = {
        "dataset": spec.dataset,
        "kind": spec.kind,
        "labels": list(spec.labels),
        **{key: record[key] for key in ("origin", "repository", "revision", "digest")},
        "splits": splits,
        "warnings": warnings,
    }
    outputs["card"].write_text(json.dumps(card, indent=1))


def _uid(dataset: str, split: str, row: int, text_a: str, text_b: str | None) -> str:
    import hashlib

    text = "\x1f".join([dataset, split, str(row), text_a, text_b or ""])
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _row_counts(spec: Spec, record: dict[str, Any]) -> list[str]:
    """Counts that differ from the entry: an error at a pinned revision, a warning for a local copy."""
    warnings = []
    for split, found in record["rows"].items():
        expected = spec.rows.get(split, [])
        if not expected or found in expected:
            continue
        text = f"data set {spec.dataset}, split {split}: found {found} rows; expected {' or '.join(map(str, expected))}"
        if record["origin"] == "hub":
            raise FtbenchError(f"{text} at this revision. The download may be incomplete: delete the cache and rerun.")
        warnings.append(text)
    return warnings


def _scores(
    spec: Spec, split: str, raw: list[str | None], values: list[float | None], unlabelled: set[str]
) -> list[float | None]:
    """The scores of one split, None where a row has none; one that is no number or out of range is an error."""
    where = f"data set {spec.dataset}, split {split}"
    known = [None if text in unlabelled else value for text, value in zip(raw, values, strict=True)]
    words = [text for text, value in zip(raw, values, strict=True) if text is not None and value is None]
    strange = [text for text in words if text not in unlabelled]
    if strange:
        raise FtbenchError(f"{where}: found scores that are no numbers: {strange[:5]}. Correct `label` or the data.")
    if spec.range is not None:
        low, high = spec.range
        outside = [value for value in known if value is not None and not low <= value <= high]
        if outside:
            raise FtbenchError(
                f"{where}: found scores outside [{low}, {high}]: {outside[:5]}. "
                "Correct `range` in the entry or the data, or name the value under `unlabelled`."
            )
    return known
