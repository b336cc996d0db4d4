"""Reading one table from thousands of files: many at a time, and again only where a file changed.

The stage `collect` reads the scores of all artifacts here. DuckDB reads and Arrow checks some hundred files at a time,
in one thread for each core; a damaged or invalid file is found by halving, so that it costs little and hides nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
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
_AT_A_TIME = 1000  # files; as many again and again, because threads that share one reading wait for each other


@dataclass
class Bulk:
    """The valid rows of the files of some artifacts; `read` counts the files that were opened now."""

    table: pa.Table
    refused: dict[str, str] = field(default_factory=dict)  # artifact to the reason why its file gave nothing
    absent: frozenset[str] = frozenset()  # artifacts without a file
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


class Reading:
    """The table `name` being read in `threads` from one file for each artifact, if it is there.

    Every row's column `owner` has to be its file's artifact. `known` has columns that are equal in all rows of an
    artifact, one row an artifact in the order of `files`; these are not read. `memory` is a file in which `Bulk.keep`
    leaves what was read, with size, time and inode of each file beside it; unchanged files are then taken from it the
    next time. Deleting it loses nothing but time.
    """

    def __init__(
        self, name: str, files: Mapping[str, Path], owner: str, threads: Executor, memory: Path | None = None,
        known: pa.Table | None = None,
    ) -> None:  # fmt: skip
        self.name, self.owner, self.memory = name, owner, memory
        stamps = {artifact: _stamp(path) for artifact, path in files.items()}
        self.stamps = {artifact: stamp for artifact, stamp in stamps.items() if stamp is not None}
        self.unchanged, old = _remembered(name, memory, self.stamps, owner) if memory else (empty(name), set())
        fresh = [(artifact, files[artifact]) for artifact in self.stamps if artifact not in old]
        self.fresh = {artifact for artifact, _ in fresh}
        self.refused: dict[str, str] = {}
        parts = (fresh[first : first + _AT_A_TIME] for first in range(0, len(fresh), _AT_A_TIME))
        columns = {} if known is None else {column: known.column(column) for column in known.column_names}
        known = pa.table({**columns, owner: pa.array(list(files), pa.string())})
        self.parts = [threads.submit(_read, name, part, owner, known, self.refused) for part in parts]

    def of(self, artifacts: Collection[str]) -> Bulk:
        """What was found for these artifacts, in their order, and within an artifact as it was written; waits."""
        table = pa.concat_tables([self.unchanged, *(part.result() for part in self.parts)])
        place = compute.index_in(table.column(self.owner), value_set=pa.array(artifacts, pa.string()))
        order = place.fill_null(-1).to_numpy().argsort(kind="stable")[place.null_count :]
        wanted = set(artifacts)
        return Bulk(
            table.take(pa.array(order)),
            refused={artifact: reason for artifact, reason in self.refused.items() if artifact in wanted},
            absent=frozenset(wanted - self.stamps.keys()),
            read=len(self.fresh & wanted),
            memory=self.memory,
            stamps={a: stamp for a, stamp in self.stamps.items() if a in wanted and a not in self.refused},
        )


def read_many(name: str, files: Mapping[str, Path], owner: str, memory: Path | None = None) -> Bulk:
    """The table of all these files; the arguments are those of `Reading`."""
    with ThreadPoolExecutor(pa.cpu_count()) as threads:
        return Reading(name, files, owner, threads, memory).of(list(files))


def _stamp(path: Path) -> str | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return f"{about.st_mtime_ns}-{about.st_size}-{about.st_ino}"


def _read(name: str, files: list[tuple[str, Path]], owner: str, known: pa.Table, refused: dict[str, str]) -> pa.Table:
    """Rows of these files in the declared shape; what cannot be read is noted in `refused`."""
    if len(files) > 1:
        try:
            return _together(name, files, owner, known)
        except (FtbenchError, pa.ArrowException, OSError):
            middle = len(files) // 2
            halves = [_read(name, part, owner, known, refused) for part in (files[:middle], files[middle:])]
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
        refused[artifact] = str(error)
        return empty(name)


def _together(name: str, files: list[tuple[str, Path]], owner: str, known: pa.Table) -> pa.Table:
    """Many files at once; any problem with any of them raises."""
    import duckdb

    declared, constant = table_named(name), [column for column in known.column_names if column != owner]
    asked = f"* exclude ({', '.join(constant)})" if constant else "*"
    paths = [str(path) for _, path in files]
    with duckdb.connect(config={"threads": 1}) as connection:
        try:
            connection.execute("set parquet_metadata_cache = true")  # both queries read the same footers
            headers = connection.execute(
                "select distinct value from parquet_kv_metadata(?) where key = ?", [paths, METADATA_KEY]
            ).fetchall()
            versions = {json.loads(value)["schema_version"] for (value,) in headers}
            relation = connection.sql(
                f"select {asked} from read_parquet($files, filename = '{_FILE}')",  # noqa: S608 (our own names)
                params={"files": paths},
            )
            table = relation.to_arrow_table()
        except (duckdb.Error, ValueError, KeyError, TypeError) as error:
            raise FtbenchError(str(error)) from None
    if versions != {SCHEMA_VERSION}:
        raise FtbenchError("files of several schema versions")
    artifacts = pa.array([artifact for artifact, _ in files], pa.string())
    expected = artifacts.take(compute.index_in(table.column(_FILE), pa.array(paths)).combine_chunks())
    if compute.any(compute.not_equal(table.column(owner), expected)).as_py():
        raise FtbenchError("a file of another artifact")
    place = compute.index_in(expected, known.column(owner).combine_chunks())
    table = table.drop_columns([_FILE])
    for column in constant:
        table = table.append_column(column, known.column(column).take(place))
    rows = in_shape(declared, table, files[0][1]).replace_schema_metadata(None)
    if problems(declared, rows):
        raise FtbenchError("a file that is not valid")
    return rows


def _remembered(name: str, memory: Path, stamps: Mapping[str, str], owner: str) -> tuple[pa.Table, set[str]]:
    """Rows of files that have not changed since, and whose they are; none where nothing usable is remembered."""
    try:
        about = json.loads(memory.with_name(f"{memory.name}.json").read_text())
        table = parquet.ParquetFile(memory).read()
        before, rows = dict(about["stamps"]), int(about["rows"])
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return empty(name), set()
    same = metadata(table).get("schema_version") == SCHEMA_VERSION and table.num_rows == rows
    if not same or table.schema.names != table_named(name).names:
        return empty(name), set()
    stale = [artifact for artifact, stamp in before.items() if stamps.get(artifact) != stamp]
    table = table.replace_schema_metadata(None)
    if stale:
        table = table.filter(compute.invert(compute.is_in(table.column(owner), pa.array(stale, pa.string()))))
    return table, set(before) - set(stale)
