"""Reading one table from thousands of files: checked as a whole, and again only where a file changed.

The stage `collect` reads the scores of all artifacts here. DuckDB reads the files in parallel; a damaged or invalid
file is found by halving, so that one bad file costs about one more reading of the rest and hides none of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from pyarrow import compute, parquet

from ftbench.config.errors import FtbenchError, problem
from ftbench.tables.check import problems
from ftbench.tables.column import SCHEMA_VERSION
from ftbench.tables.schema import table as table_named
from ftbench.tables.store import METADATA_KEY, empty, in_shape, metadata, read_table

_FILE = "__file"


@dataclass
class Bulk:
    """The valid rows of all files, and the reason for each file that gave none; `read` counts files opened."""

    table: pa.Table
    refused: dict[str, str] = field(default_factory=dict)
    read: int = 0
    memory: Path | None = None
    stamps: Mapping[str, str] = field(default_factory=dict)  # by artifact, of the files that gave rows

    def keep(self, written: Path) -> None:
        """Remember the rows for the next time; `written` is a file of the package that holds exactly them.

        A folder that cannot be written to is no error.
        """
        if self.memory is None:
            return
        temporary, stamps = (self.memory.with_name(f"{self.memory.name}.{kind}") for kind in ("part", "json"))
        try:
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            stamps.unlink(missing_ok=True)  # from here on nothing is remembered until both files stand
            shutil.copyfile(written, temporary)
            temporary.replace(self.memory)
            temporary.write_text(json.dumps({"rows": self.table.num_rows, "stamps": dict(self.stamps)}))
            temporary.replace(stamps)
        except OSError:
            temporary.unlink(missing_ok=True)


def read_many(name: str, files: Mapping[str, Path], owner: str, memory: Path | None = None) -> Bulk:
    """The table `name` from one existing file for each artifact; every row's column `owner` has to be that artifact.

    `memory` is a file in which `Bulk.keep` leaves what was read, with size, time and inode of each file beside it;
    unchanged files are then taken from it the next time. Deleting it loses nothing but time.
    """
    stamps = {artifact: _stamp(path) for artifact, path in files.items()}
    known, old = _remembered(name, memory, stamps, owner) if memory else (None, set())
    fresh = {artifact: path for artifact, path in files.items() if artifact not in old}
    found = Bulk(empty(name), read=len(fresh), memory=memory)
    parts = [_read(name, list(fresh.items()), owner, found)] if fresh else []
    parts += [known] if known is not None else []
    found.table = pa.concat_tables([found.table, *parts]) if parts else found.table
    found.stamps = {artifact: stamp for artifact, stamp in stamps.items() if artifact not in found.refused}
    return found


def _stamp(path: Path) -> str:
    about = path.stat()
    return f"{about.st_mtime_ns}-{about.st_size}-{about.st_ino}"


def _read(name: str, files: list[tuple[str, Path]], owner: str, found: Bulk) -> pa.Table:
    """Rows of these files in the declared shape; what cannot be read is noted in `found.refused`."""
    if len(files) > 1:
        try:
            return _together(name, files, owner)
        except (FtbenchError, pa.ArrowException, OSError):
            middle = len(files) // 2
            halves = [_read(name, part, owner, found) for part in (files[:middle], files[middle:])]
            return pa.concat_tables(halves)
    artifact, path = files[0]
    try:
        table = read_table(name, path).replace_schema_metadata(None)
        strange = [value for value in table.column(owner).unique().to_pylist() if value != artifact]
        if strange:
            raise FtbenchError(
                problem(file=path, key=owner, found=repr(strange[0]), expected=repr(artifact),
                        fix="The file belongs to another artifact. Delete it and run the study again.")
            )  # fmt: skip
        return table
    except FtbenchError as error:
        found.refused[artifact] = str(error)
        return empty(name)


def _together(name: str, files: list[tuple[str, Path]], owner: str) -> pa.Table:
    """Many files at once; any problem with any of them raises."""
    import duckdb

    paths = [str(path) for _, path in files]
    artifacts = pa.table({_FILE: pa.array(paths), "expected": pa.array([artifact for artifact, _ in files])})
    with duckdb.connect() as connection:
        try:
            headers = connection.execute(
                "select distinct value from parquet_kv_metadata(?) where key = ?", [paths, METADATA_KEY]
            ).fetchall()
            versions = {json.loads(value)["schema_version"] for (value,) in headers}
            relation = connection.sql(
                f"select * from read_parquet($files, filename = '{_FILE}')",  # noqa: S608 (a constant of this file)
                params={"files": paths},
            )
            table = relation.to_arrow_table()
        except (duckdb.Error, ValueError, KeyError, TypeError) as error:
            raise FtbenchError(str(error)) from None
    if versions != {SCHEMA_VERSION}:
        raise FtbenchError("files of several schema versions")
    expected = artifacts.column("expected").take(compute.index_in(table.column(_FILE), artifacts.column(_FILE)))
    declared = table_named(name)
    rows = in_shape(declared, table.drop_columns([_FILE]), files[0][1]).replace_schema_metadata(None)
    if compute.any(compute.not_equal(rows.column(owner), expected)).as_py() or problems(declared, rows):
        raise FtbenchError("a file that is not valid")
    return rows


def _remembered(name: str, memory: Path, stamps: Mapping[str, str], owner: str) -> tuple[pa.Table | None, set[str]]:
    """Rows of files that have not changed since, and whose they are; null where nothing usable is remembered."""
    try:
        about = json.loads(memory.with_name(f"{memory.name}.json").read_text())
        table = parquet.ParquetFile(memory).read()
        before, rows = dict(about["stamps"]), int(about["rows"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None, set()
    same = metadata(table).get("schema_version") == SCHEMA_VERSION and table.num_rows == rows
    if not same or table.schema.names != table_named(name).names:
        return None, set()
    stale = [artifact for artifact, stamp in before.items() if stamps.get(artifact) != stamp]
    table = table.replace_schema_metadata(None)
    if stale:
        table = table.filter(compute.invert(compute.is_in(table.column(owner), pa.array(stale, pa.string()))))
    return table, set(before) - set(stale)
