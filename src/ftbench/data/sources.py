"""Reading raw rows of a data set: local Parquet files, the hub at a pinned revision, or the generator.

Only stage `fetch` calls this. Rows come out with the columns split, text_a, text_b, label_raw (text of the raw
value), value (number, for scores) and aux (further columns, JSON); the names that the source itself gives its label
values come beside.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.dataset import Fields, GeneratedSource, HubSource
from ftbench.config.errors import FtbenchError, nearest
from ftbench.data.parquet import read_parquet_file
from ftbench.data.patience import patiently, words

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Raw:
    """Rows of one split, and the label names of the source (None where it has plain values)."""

    table: pa.Table
    label_names: list[str] | None


def _class_names(table: pa.Table, column: str | None) -> list[str] | None:
    """ClassLabel names from the feature description that Hugging Face writes into Parquet files."""
    described = (table.schema.metadata or {}).get(b"huggingface")
    if column is None or described is None:
        return None
    feature = json.loads(described).get("info", {}).get("features", {}).get(column, {})
    names = feature.get("names")
    return list(names) if names else None


def _columns(table: pa.Table, fields: Fields, label: str | None, where: str) -> pa.Table:
    """The wanted columns under our names; a missing one raises an `FtbenchError` that lists what is there."""
    import pyarrow as pa
    from pyarrow import compute

    named = [("text_a", fields.text_a), ("text_b", fields.text_b), ("label", label)]
    for key, column in [*named, *((f"aux.{name}", column) for name, column in fields.aux.items())]:
        if column is not None and column not in table.column_names:
            raise FtbenchError(
                f"{where}: found no column `{column}` (key `{key}` of the entry); "
                f"the file has {table.column_names}. {nearest(column, table.column_names)}"
            )
    rows = table.num_rows

    def as_text(column: str) -> Any:
        try:
            return table.column(column).cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            kind = table.schema.field(column).type
            raise FtbenchError(f"{where}: found a column `{column}` of type {kind}; expected text or numbers") from None

    texts = {
        "text_a": as_text(fields.text_a),
        "text_b": pa.nulls(rows, pa.string()) if fields.text_b is None else as_text(fields.text_b),
    }
    raw = pa.nulls(rows, pa.string())
    value = pa.nulls(rows, pa.float64())
    if label is not None:
        column = table.column(label)
        raw = as_text(label)
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            value = compute.cast(column, pa.float64())
    return pa.table({**texts, "label_raw": raw, "value": value, "aux": _auxiliary(table, fields)})


def _auxiliary(table: pa.Table, fields: Fields) -> Any:
    """The further columns of each row as a JSON object; null where the entry names none."""
    import pyarrow as pa

    if not fields.aux:
        return pa.nulls(table.num_rows, pa.string())
    columns = {name: table.column(column).to_pylist() for name, column in fields.aux.items()}
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return pa.array([json.dumps({name: str(value) for name, value in row.items()}, sort_keys=True) for row in rows])


def read_local(files: Mapping[str, Path], fields: Fields, label: str | None) -> dict[str, Raw]:
    """Splits from local Parquet files, given as our split name to the file."""
    found = {}
    for split, file in files.items():
        table = read_parquet_file(file)
        found[split] = Raw(_columns(table, fields, label, str(file)), _class_names(table, label))
    return found


def read_hub(source: HubSource, splits: Mapping[str, str], fields: Fields, label: str | None) -> dict[str, Raw]:
    """Splits of a hub data set at its pinned revision; needs the network or a filled cache."""
    import datasets

    found = {}
    for split, name in splits.items():
        where = f"{source.repository}@{source.revision[:10]} split {name}"
        try:
            loaded: Any = patiently(
                lambda name=name: datasets.load_dataset(  # type: ignore[misc]
                    source.repository, source.config, revision=source.revision, split=name
                )
            )
        except Exception as error:  # the library raises many kinds; all mean that the rows are not to be had
            advice = words(error) or "Check the network and, for gated sets, `hf auth login`"
            raise FtbenchError(
                f"{where}: could not be loaded from the hub ({type(error).__name__}: {error}). "
                f"{advice}; or put Parquet files under `data_root`."
            ) from error
        names = getattr(loaded.features.get(label), "names", None) if label else None
        table = loaded.with_format("arrow")[:]
        found[split] = Raw(_columns(table, fields, label, where), list(names) if names else None)
    return found


def read_generated(source: GeneratedSource, fields: Fields, label: str | None) -> dict[str, Raw]:
    """Splits made by the package's own generator."""
    import pyarrow as pa

    from ftbench.config.strict import validated

    # by name, so that only the jobs to which the plan adds this module depend on its source
    generator: Any = importlib.import_module(f"ftbench.data.{source.generator}")
    settings = validated(generator.LanguageSettings, source.settings, f"generator of part {source.part}", "settings")
    return {
        split: Raw(_columns(pa.Table.from_pylist(rows), fields, label, f"generated {source.part}/{split}"), None)
        for split, rows in generator.generate(source.part, settings).items()
    }
