"""Many files of one table: read together, the bad ones named, and the unchanged ones not read again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ftbench.config.errors import FtbenchError
from ftbench.tables import bulk
from ftbench.tables.bulk import Bulk, Reading, read_many
from ftbench.tables.store import write_table


def row(artifact: str, **changes: Any) -> dict[str, Any]:
    given = {
        "artifact_id": artifact, "eval_set": "test", "metric": "accuracy", "study": "demo", "task": "reviews",
        "model": "tiny", "artifact_kind": "run", "method": "vanilla", "variant": "default", "seed": 0, "role": "id",
        "value": 0.75, "ci_low": 0.7, "ci_high": 0.8, "n": 100, "higher_is_better": True, "unit": "fraction",
        "label_map": "identity", "resamples": 10,
    }  # fmt: skip
    return {**given, **changes}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for number in range(9):
        artifact = f"runs/a{number}"
        file = tmp_path / artifact / "metrics.parquet"
        file.parent.mkdir(parents=True)
        write_table("metrics", [row(artifact), row(artifact, metric="nll", value=float(number))], file)
        found[artifact] = file
    return found


def values(table: pa.Table) -> dict[str, float]:
    return {one["artifact_id"]: one["value"] for one in table.to_pylist() if one["metric"] == "nll"}


def again(files: dict[str, Path], memory: Path) -> Bulk:
    """Read with a memory and keep what was read, as `collect` does."""
    found = read_many("metrics", files, "artifact_id", memory)
    written = memory.with_name("written.parquet")
    written.parent.mkdir(exist_ok=True)
    write_table("metrics", found.table, written)
    found.keep(written)
    return found


def rewrite(file: Path, table: pa.Table) -> None:
    """Write as another program would, without any check."""
    parquet.write_table(table, file)


def test_all_files_together_are_one_table(files: dict[str, Path]) -> None:
    found = read_many("metrics", files, "artifact_id")
    assert values(found.table) == {f"runs/a{number}": float(number) for number in range(9)}
    assert (found.refused, found.read) == ({}, 9)
    assert read_many("metrics", {}, "artifact_id").table.num_rows == 0


@pytest.mark.parametrize("at_a_time", [1, 2, 1000])
def test_a_bad_file_is_refused_with_its_row_and_hides_no_other(
    files: dict[str, Path], at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_AT_A_TIME", at_a_time)
    twice = parquet.read_table(files["runs/a1"])
    rewrite(files["runs/a1"], pa.concat_tables([twice, twice]))
    low = parquet.read_table(files["runs/a2"]).to_pylist()
    low[1]["n"] = -1
    header = parquet.read_schema(files["runs/a2"])
    rewrite(files["runs/a2"], pa.Table.from_pylist(low, schema=header))
    files["runs/a3"].write_bytes(b"no parquet")
    files["runs/a4"].write_bytes(files["runs/a5"].read_bytes())
    found = read_many("metrics", files, "artifact_id")
    assert set(values(found.table)) == {f"runs/a{number}" for number in (0, 5, 6, 7, 8)}
    assert "accuracy" in found.refused["runs/a1"]
    assert "2 times" in found.refused["runs/a1"]
    assert (
        "-1, below 1, first in row 1 (artifact_id 'runs/a2', eval_set 'test', metric 'nll')" in found.refused["runs/a2"]
    )
    assert "damaged" in found.refused["runs/a3"]
    assert "belongs to another artifact" in found.refused["runs/a4"]


def test_of_some_artifacts_the_rows_come_in_the_order_asked_for(files: dict[str, Path]) -> None:
    files["runs/a3"].write_bytes(b"no parquet")
    files["runs/a4"].unlink()
    with ThreadPoolExecutor(2) as threads:
        reading = Reading("metrics", files, "artifact_id", threads)
        some = reading.of(["runs/a7", "runs/a4", "runs/a1", "runs/none"])
        rest = reading.of(["runs/a3", "runs/a0"])
    assert some.table.column("artifact_id").to_pylist() == ["runs/a7", "runs/a7", "runs/a1", "runs/a1"]
    assert some.table.column("metric").to_pylist() == ["accuracy", "nll"] * 2
    assert (some.absent, some.refused, some.read) == ({"runs/a4", "runs/none"}, {}, 2)
    assert (rest.absent, set(rest.refused), set(rest.stamps)) == (set(), {"runs/a3"}, {"runs/a0"})


def test_what_is_known_of_an_artifact_is_not_read_from_its_file(files: dict[str, Path]) -> None:
    known = pa.table({"method": [f"method {number}" for number in range(9)], "seed": pa.array([*range(8), None])})
    with ThreadPoolExecutor(2) as threads:
        found = Reading("metrics", files, "artifact_id", threads, known=known).of(["runs/a8", "runs/a2"]).table
    assert found.column("method").to_pylist() == ["method 8", "method 8", "method 2", "method 2"]
    assert found.column("seed").to_pylist() == [None, None, 2, 2]
    assert found.column("value").to_pylist() == [0.75, 8.0, 0.75, 2.0]


def test_files_of_an_older_schema_version_are_read_beside_newer_ones(files: dict[str, Path]) -> None:
    table = parquet.read_table(files["runs/a0"])
    rewrite(files["runs/a0"], table.replace_schema_metadata({b"ftbench": b'{"schema_version": 1}'}))
    found = read_many("metrics", files, "artifact_id")
    assert len(values(found.table)) == 9
    assert found.refused == {}


def test_only_changed_files_are_read_again(files: dict[str, Path], tmp_path: Path) -> None:
    memory = tmp_path / "memory" / "metrics.parquet"
    assert again(files, memory).read == 9
    assert again(files, memory).read == 0
    write_table("metrics", [row("runs/a2", metric="nll", value=7.5)], files["runs/a2"])
    files["runs/a3"].unlink()
    del files["runs/a3"]
    found = again(files, memory)
    assert found.read == 1
    assert values(found.table) == {
        f"runs/a{number}": 7.5 if number == 2 else float(number) for number in range(9) if number != 3
    }
    assert again(files, memory).read == 0


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_damaged_memory_is_forgotten(files: dict[str, Path], tmp_path: Path, content: bytes) -> None:
    memory = tmp_path / "memory.parquet"
    again(files, memory)
    memory.write_bytes(content)
    assert len(values(again(files, memory).table)) == 9
    assert again(files, memory).read == 0


def test_a_stop_between_rows_and_stamps_forgets_and_mixes_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    memory = tmp_path / "memory.parquet"
    again(files, memory)
    memory.with_name("memory.parquet.json").unlink()
    assert again(files, memory).read == 9
    write_table("metrics", [row("runs/a0")], memory)  # rows of another time beside these stamps
    found = again(files, memory)
    assert (found.read, len(values(found.table))) == (9, 9)


def test_a_file_without_rows_is_read_once(files: dict[str, Path], tmp_path: Path) -> None:
    write_table("metrics", [], files["runs/a4"])
    assert again(files, tmp_path / "memory.parquet").read == 9
    assert again(files, tmp_path / "memory.parquet").read == 0


def test_a_value_out_of_range_is_told_with_its_row_on_write(tmp_path: Path) -> None:
    rows = [row("runs/a"), row("runs/b", role="odd")]
    with pytest.raises(FtbenchError, match=r"role.*odd.*first in row 1 \(artifact_id 'runs/b'"):
        write_table("metrics", rows, tmp_path / "m.parquet")
