"""The only code that writes and reads the result tables; `tables/check.py` says what a valid one is.

Stages write through `write_table` to the place their adapter gives them and read through `read_table`; any
other Parquet file is read through `read_parquet_checked`. Nothing here renames files or knows where they
belong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ftbench.config.errors import FtbenchError, nearest, problem
from ftbench.tables.check import problems
from ftbench.tables.column import SCHEMA_VERSION, TIME, Column, Table
from ftbench.tables.schema import table as table_named
from ftbench.tables.versions import readable, upgraded

METADATA_KEY = b"ftbench"
# rows from which compression, dictionaries and statistics pay: the files of single cells are smaller, there are
# thousands of them, and each is opened much faster without
_LARGE = 1000
_AGAIN = "Delete the file and run the study again; the job that writes it then runs once more."


def write_table(
    name: str,
    content: pa.Table | Iterable[Mapping[str, Any]],
    path: Path,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Check rows or an Arrow table against the schema `name` and write them as Parquet.

    Nullable columns may be left out and become null. Times may be ISO 8601 strings, JSON columns may be given
    as mappings or lists. `metadata` is stored as JSON beside the schema version. Raises `FtbenchError` for
    unknown or absent columns and for values outside the schema; nothing is written then.
    """
    arrow = checked(name, content, path)
    header = {**(metadata or {}), "schema_version": SCHEMA_VERSION, "table": name}
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    large = arrow.num_rows >= _LARGE
    parquet.write_table(
        arrow.replace_schema_metadata({METADATA_KEY: text.encode()}), path,
        compression="zstd" if large else "none", use_dictionary=large, write_statistics=large,
    )  # fmt: skip


def checked(name: str, content: pa.Table | Iterable[Mapping[str, Any]], path: Path) -> pa.Table:
    """What `write_table` would write, or its error; `path` is the file that the error names."""
    declared = table_named(name)
    arrow = content if isinstance(content, pa.Table) else _from_rows(declared, content, path)
    arrow = in_shape(declared, arrow, path)
    _refuse(declared, arrow, path, "The stage that writes this is at fault; report it with its log.")
    return arrow


def read_table(name: str, path: Path) -> pa.Table:
    """The table `name` from a file, checked as on write; `FtbenchError` if absent, damaged or invalid.

    Files of older schema versions are read too, as `tables/versions.py` says; `metadata` tells the version found.
    """
    declared = table_named(name)
    arrow = read_parquet_checked(path, f"the table `{name}`")
    version = metadata(arrow).get("schema_version")
    if not readable(version):
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise FtbenchError(
            problem(
                file=path,
                key="schema_version",
                found="none" if version is None else str(version),
                expected=f"1 to {SCHEMA_VERSION}",
                fix="A newer ftbench wrote this; update yours." if newer else _AGAIN,
            )
        )
    arrow = upgraded(name, int(version or 0), arrow)
    # an older writer could not know columns that came later, so these may be null
    needed = [column.name for column in declared.columns if version == SCHEMA_VERSION or not column.nullable]
    absent = [name for name in needed if name not in arrow.column_names]
    if absent:
        raise FtbenchError(problem(file=path, key=absent[0], found="no such column", fix=_AGAIN))
    arrow = in_shape(declared, arrow, path)
    _refuse(declared, arrow, path, _AGAIN)
    return arrow


def read_parquet_checked(path: Path, what: str, columns: list[str] | None = None) -> pa.Table:
    """Any Parquet file as an Arrow table; `what` names it in the error for an absent or damaged file.

    `columns` are those to read, null for all; names that the file does not have are passed over.
    """
    if not path.is_file():
        raise FtbenchError(
            problem(file=path, found="no such file", expected=what, fix="Run the study; `snakemake` makes it.")
        )
    size = path.stat().st_size
    if size == 0:
        raise FtbenchError(problem(file=path, found="an empty file (0 bytes)", expected=what, fix=_AGAIN))
    try:
        return parquet.ParquetFile(path).read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        found = f"a damaged or cut-off Parquet file of {size} bytes ({reason})"
        raise FtbenchError(problem(file=path, found=found, expected=what, fix=_AGAIN)) from None


def metadata(arrow: pa.Table) -> dict[str, Any]:
    """What `write_table` stored beside the columns: schema version, table, and the writer's own entries."""
    raw = (arrow.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        return {}
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def empty(name: str) -> pa.Table:
    """The table `name` without rows."""
    return table_named(name).arrow().empty_table()


def _from_rows(declared: Table, rows: Iterable[Mapping[str, Any]], path: Path) -> pa.Table:
    given = list(rows)
    known = set(declared.names)
    for row in given:
        if not known.issuperset(row):
            unknown = next(name for name in row if name not in known)
            raise FtbenchError(problem(file=path, key=unknown, found="an unknown column", fix=nearest(unknown, known)))
    arrays = []
    for column in declared.columns:
        values = [row.get(column.name) for row in given]
        if column.json or column.type == TIME:
            values = [_value(column, value) for value in values]
        try:
            arrays.append(pa.array(values, type=column.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise FtbenchError(
                problem(file=path, key=column.name, found=f"a wrong type ({error})", expected=str(column.type))
            ) from None
    return pa.Table.from_arrays(arrays, schema=declared.arrow())


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.json and not isinstance(value, str):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    if column.type == TIME and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


def in_shape(declared: Table, arrow: pa.Table, path: Path) -> pa.Table:
    """The columns in order and of the declared types; absent nullable columns become null.

    Raises `FtbenchError` for unknown columns, absent required ones and values that do not fit the type.
    """
    unknown = [name for name in arrow.column_names if name not in declared.names]
    if unknown:
        raise FtbenchError(
            problem(file=path, key=unknown[0], found="an unknown column", fix=nearest(unknown[0], declared.names))
        )
    columns = []
    for column in declared.columns:
        if column.name not in arrow.column_names:
            if not column.nullable:
                raise FtbenchError(problem(file=path, key=column.name, found="no such column", expected="values"))
            columns.append(pa.chunked_array([pa.nulls(arrow.num_rows, column.type)]))
            continue
        values = arrow.column(column.name)
        try:
            columns.append(values.cast(column.type))
        except pa.ArrowException as error:
            raise FtbenchError(
                problem(
                    file=path,
                    key=column.name,
                    found=f"type {values.type} ({error})",
                    expected=str(column.type),
                )
            ) from None
    return pa.Table.from_arrays(columns, schema=declared.arrow().with_metadata(arrow.schema.metadata))


def _refuse(declared: Table, arrow: pa.Table, path: Path, fix: str) -> None:
    found = problems(declared, arrow)
    if found:
        raise FtbenchError("\n".join(problem(file=path, key=key, found=text, fix=fix) for key, text in found))
