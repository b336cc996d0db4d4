"""SQL over the tables of one or more studies, read only: `ftbench query`.

DuckDB runs in memory with every table as a view of its own name. One statement that reads is allowed; files outside
the predictions of the named studies cannot be opened, and settings are locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.reading.folders import ResultsFolder

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MEMORY_LIMIT = "2GB"
_EXPECTED = "expected one that reads, such as `from runs`"


def query(sql: str, folders: Sequence[ResultsFolder]) -> pa.Table:
    """The rows that a statement gives; every view has a column `study`, which is the folder's name.

    Raises `FtbenchError` for anything but one reading statement, for unknown names and for outside files.
    """
    import duckdb

    with duckdb.connect(":memory:") as connection:
        names = _views(connection, folders)
        _refuse_writing(connection, sql)
        try:
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise FtbenchError(f"the query failed: {_first_line(error)}. Views: {', '.join(names)}.") from None


def _refuse_writing(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise FtbenchError(f"the query is no SQL: {_first_line(error)}") from None
    if len(statements) != 1:
        raise FtbenchError(f"found {len(statements)} statements; {_EXPECTED}")
    kind = statements[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise FtbenchError(f"found a statement of kind {kind.name}; {_EXPECTED}. A query never changes results.")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _views(connection: duckdb.DuckDBPyConnection, folders: Sequence[ResultsFolder]) -> list[str]:
    """Register every table that any study has; then close the door to the file system."""
    import pyarrow as pa

    from ftbench.tables.schema import TABLES

    names = []
    for name in TABLES:
        if name == "predictions":
            continue
        parts = [_named(folder.table(name), folder.name) for folder in folders]
        found = [part for part in parts if part is not None]
        if found:
            connection.register(name, pa.concat_tables(found))
            names.append(name)
    roots = [str((folder.places.root / "predictions").resolve()) for folder in folders]
    if _predictions(connection, folders):
        names.append("predictions")
    connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'")
    connection.execute("set allowed_directories = $roots".replace("$roots", _list(roots)))
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return names


def _named(table: pa.Table | None, study: str) -> pa.Table | None:
    """A table with the folder's name in the column `study`, which the writer may have called something else."""
    import pyarrow as pa

    if table is None:
        return None
    table = table.replace_schema_metadata(None)
    if "study" in table.column_names:
        table = table.drop_columns(["study"])
    return table.add_column(0, "study", pa.array([study] * table.num_rows, pa.string()))


def _predictions(connection: duckdb.DuckDBPyConnection, folders: Sequence[ResultsFolder]) -> bool:
    """A view over all files of predictions, opened only when a query asks for them."""
    parts = [
        f"select {_text(folder.name)} as study, * from read_parquet({_list(map(str, files))}, union_by_name = true)"  # noqa: S608
        for folder in folders
        if (files := [file.resolve() for file in folder.predictions()])
    ]
    if parts:
        connection.execute(f"create view predictions as {' union all by name '.join(parts)}")
    return bool(parts)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _list(values: Any) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
