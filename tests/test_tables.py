"""The result tables: what is refused on write and on read, and the page made from the schemas."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ftbench.config.errors import FtbenchError
from ftbench.tables import reference
from ftbench.tables.column import SCHEMA_VERSION
from ftbench.tables.schema import TABLES
from ftbench.tables.store import empty, metadata, read_parquet_checked, read_table, write_table


def metric_row(**changes: Any) -> dict[str, Any]:
    row = {
        "artifact_id": "runs/reviews/tiny/vanilla/default/s0",
        "eval_set": "test",
        "metric": "accuracy",
        "study": "demo",
        "task": "reviews",
        "model": "tiny",
        "artifact_kind": "run",
        "method": "vanilla",
        "variant": "default",
        "seed": 0,
        "role": "id",
        "value": 0.75,
        "ci_low": 0.7,
        "ci_high": 0.8,
        "n": 100,
        "value_distinct": 0.74,
        "n_distinct": 90,
        "higher_is_better": True,
        "unit": "fraction",
        "label_map": "identity",
        "resamples": 1000,
        "reason": None,
    }
    return {**row, **changes}


def run_row(**changes: Any) -> dict[str, Any]:
    row = {
        "run_id": "runs/reviews/tiny/vanilla/default/s0",
        "study": "demo",
        "task": "reviews",
        "model": "tiny",
        "method": "vanilla",
        "variant": "default",
        "seed": 0,
        "status": "success",
    }
    return {**row, **changes}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [metric_row(), metric_row(metric="nll", value=None, ci_low=None, ci_high=None)]
    write_table("metrics", rows, tmp_path / "metrics.parquet")
    assert read_table("metrics", tmp_path / "metrics.parquet").to_pylist() == rows


def test_left_out_columns_are_null_times_are_utc_and_mappings_become_json(tmp_path: Path) -> None:
    row = run_row(started_at="2025-01-02T03:04:05+02:00", versions={"torch": "2", "a": "1"}, labels=["no", "yes"])
    write_table("runs", [row], tmp_path / "runs.parquet")
    (found,) = read_table("runs", tmp_path / "runs.parquet").to_pylist()
    assert found["started_at"] == datetime(2025, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert json.loads(found["versions"]) == {"torch": "2", "a": "1"}
    assert found["labels"] == ["no", "yes"]
    assert found["peak_memory_bytes"] is None


def test_the_schema_version_and_further_metadata_stand_in_the_file(tmp_path: Path) -> None:
    write_table("predictions", [], tmp_path / "p.parquet", {"labels": ["no", "yes"]})
    found = metadata(read_table("predictions", tmp_path / "p.parquet"))
    assert found == {"schema_version": SCHEMA_VERSION, "table": "predictions", "labels": ["no", "yes"]}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([metric_row(), metric_row()], "2 times"),
        ([metric_row(role="idd")], "idd"),
        ([metric_row(n=0)], "below 1"),
        ([metric_row(value=float("nan"))], "not a number"),
        ([metric_row(value=float("inf"))], "infinite"),
        ([metric_row(ci_low=0.9)], "ci_high"),
        ([metric_row(task=None)], "nulls"),
        ([metric_row(n="many")], "wrong type"),
        ([metric_row(valeu=1.0)], "Did you mean `value`?"),
    ],
)
def test_invalid_rows_are_refused_and_nothing_is_written(
    tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    file = tmp_path / "metrics.parquet"
    with pytest.raises(FtbenchError, match=r"metrics\.parquet") as caught:
        write_table("metrics", rows, file)
    assert words in str(caught.value)
    assert not file.exists()


def test_reading_checks_again_because_others_may_have_written(tmp_path: Path) -> None:
    file = tmp_path / "metrics.parquet"
    write_table("metrics", [metric_row()], file)
    twice = pa.concat_tables([parquet.read_table(file)] * 2)
    parquet.write_table(twice, file)
    with pytest.raises(FtbenchError, match=r"artifact_id, eval_set, metric"):
        read_table("metrics", file)


@pytest.mark.parametrize(
    ("version", "words"), [("99", r"99.*newer ftbench"), ("0", "found 0"), ("null", "found none"), ("true", "True")]
)
def test_a_file_of_an_unknown_schema_version_is_refused(tmp_path: Path, version: str, words: str) -> None:
    file = tmp_path / "metrics.parquet"
    write_table("metrics", [metric_row()], file)
    header = f'{{"schema_version": {version}}}'.encode()
    parquet.write_table(parquet.read_table(file).replace_schema_metadata({b"ftbench": header}), file)
    with pytest.raises(FtbenchError, match=rf"schema_version.*{words}"):
        read_table("metrics", file)


def test_comparisons_of_version_1_are_read_as_the_tests_over_seeds_that_they_are(tmp_path: Path) -> None:
    file = tmp_path / "comparisons.parquet"
    row = {
        "study": "demo", "task": "reviews", "model": "tiny", "eval_set": "test", "role": "id", "metric": "accuracy",
        "method": "better", "variant": "default", "baseline": "plain", "baseline_variant": "default",
        "test": "paired_t", "higher_is_better": True, "n_pairs": 5, "n_missing": 0, "mean": 0.8, "baseline_mean": 0.7,
        "difference": 0.1, "ci_low": 0.05, "ci_high": 0.15, "p_value": 0.01, "p_adjusted": 0.02,
        "family": "reviews / tiny / accuracy", "family_size": 2, "verdict": "better",
    }  # fmt: skip
    header = {b"ftbench": b'{"schema_version": 1, "table": "comparisons"}'}
    parquet.write_table(pa.Table.from_pylist([row]).replace_schema_metadata(header), file)
    table = read_table("comparisons", file)
    (found,) = table.to_pylist()
    assert {key: found[key] for key in row} == row
    assert (found["scope"], found["primary"], found["q_value"]) == ("baseline", True, None)
    assert metadata(table)["schema_version"] == 1


@pytest.mark.parametrize("content", [b"", b"no parquet", None], ids=["empty", "foreign", "cut off"])
def test_a_damaged_file_is_told_with_its_name_and_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "metrics.parquet"
    if content is None:
        write_table("metrics", [metric_row()], file)
        content = file.read_bytes()[:-20]
    file.write_bytes(content)
    with pytest.raises(FtbenchError, match=r"metrics\.parquet.*Delete the file"):
        read_table("metrics", file)


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match=r"none\.parquet.*no such file.*the rows of a data set"):
        read_parquet_checked(tmp_path / "none.parquet", "the rows of a data set")


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_table_has_a_valid_schema_and_can_be_empty(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    assert len(set(table.names)) == len(table.names)
    assert all(not table.column(key).nullable for key in table.key)
    assert all(column.description for column in table.columns)
    write_table(name, empty(name), tmp_path / "empty.parquet")
    assert read_table(name, tmp_path / "empty.parquet").num_rows == 0


def test_rounding_errors_of_single_precision_probabilities_pass(tmp_path: Path) -> None:
    row = {
        "model": "tiny",
        "prior_set": "prior",
        "uid": "1",
        "base_id": "b",
        "role": "rehearsal_pool",
        "loss_bin": 0,
        "text_hash": "x",
        "label": "no",
        "prior_pred": "no",
        "prior_correct": True,
        "prior_loss": 0.0,
        "prior_p_true": 1.0000002,
        "prior_margin": 1.0,
        "prior_entropy": 0.0,
        "prior_energy": -3.0,
        "n_tokens": 3,
        "n_chars": 9,
    }
    write_table("pretrain_samples", [row], tmp_path / "p.parquet")
    with pytest.raises(FtbenchError, match="above 1"):
        write_table("pretrain_samples", [{**row, "prior_p_true": 1.01}], tmp_path / "q.parquet")


def test_the_page_on_tables_says_what_the_schemas_say() -> None:
    file = Path(__file__).parent.parent / "docs" / "tables.md"
    assert file.read_text(encoding="utf-8") == reference.page(), (
        "docs/tables.md differs from the schemas: run `python -m ftbench.tables.reference > docs/tables.md`"
    )


def test_elements_of_lists_are_held_to_the_limits_of_their_column(tmp_path: Path) -> None:
    owner = {
        "artifact_id": "runs/a", "eval_set": "test", "scaling": "none", "study": "s", "task": "t", "model": "m",
        "artifact_kind": "run", "role": "id", "n": 3, "resamples": 0,
    }  # fmt: skip
    good = {"bin_n": [3, 0], "bin_confidence": [0.5, None], "bin_accuracy": [1.0, None]}
    first, second, third = ({**owner, **good, "eval_set": name} for name in ("one", "two", "three"))
    file = tmp_path / "calibration.parquet"
    write_table("calibration", [first, {**second, "bin_n": None}, third], file)
    assert [row["bin_n"] for row in read_table("calibration", file).to_pylist()] == [[3, 0], None, [3, 0]]
    for column, values, found in (
        ("bin_confidence", [0.5, 1.5], "1.5, above 1"),
        ("bin_n", [-1, 2], "-1, below 0"),
        ("bin_accuracy", [float("nan"), None], "1 values that are infinite or not a number"),
    ):
        with pytest.raises(FtbenchError, match=f"(?s){column}.*{found}.*first in row 2 .*'three'"):
            write_table("calibration", [first, {**second, "bin_n": None}, {**third, column: values}], file)
