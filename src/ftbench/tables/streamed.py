"""Writing and joining tables of any length part by part, in the memory of one part.

For tables with a row per sample, of which there may be millions. Every part is checked like a table of its own;
that keys do not repeat between parts is up to the writer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from ftbench.config.errors import FtbenchError, problem
from ftbench.tables.column import SCHEMA_VERSION
from ftbench.tables.schema import table as table_named
from ftbench.tables.store import METADATA_KEY, checked, metadata


class TableWriter:
    """A context in which parts of the table `name` are checked and appended to a Parquet file."""

    def __init__(self, name: str, path: Path, header: Mapping[str, Any] | None = None) -> None:
        text = json.dumps({**(header or {}), "schema_version": SCHEMA_VERSION, "table": name}, sort_keys=True)
        self.name, self.path, self.rows = name, path, 0
        self.schema = table_named(name).arrow().with_metadata({METADATA_KEY: text.encode()})

    def __enter__(self) -> Self:
        self.writer = parquet.ParquetWriter(self.path, self.schema, compression="zstd")
        return self

    def write(self, content: pa.Table | Iterable[Mapping[str, Any]]) -> None:
        """Append a part; raises `FtbenchError` like `write_table`."""
        part = checked(self.name, content, self.path)
        self.writer.write_table(part.replace_schema_metadata(self.schema.metadata))
        self.rows += part.num_rows

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.writer.close()


def parts(name: str, path: Path, rows: int = 65536, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The table of a file in parts of at most `rows` rows; an unreadable or foreign file raises an `FtbenchError`."""
    wanted = columns or table_named(name).names
    try:
        file = parquet.ParquetFile(path)
        version = metadata(file.schema_arrow.empty_table()).get("schema_version")
        absent = [column for column in wanted if column not in file.schema_arrow.names]
        if version != SCHEMA_VERSION or absent:
            found = f"no column `{absent[0]}`" if absent else f"schema version {version}"
            raise FtbenchError(problem(file=path, found=found, expected=f"the table `{name}`"))
        for batch in file.iter_batches(batch_size=rows, columns=wanted):
            yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        raise FtbenchError(problem(file=path, found=f"no readable Parquet file ({error})")) from None
