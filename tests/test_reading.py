"""Commands on finished results: what a query may do, what changed between two folders, where a number comes from."""

from __future__ import annotations

import csv
import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from pyarrow import parquet
from results_folder import SEEDS, Folder, small_study
from typer.testing import CliRunner, Result

from ftbench import matrix
from ftbench.cli import app
from ftbench.config.errors import FtbenchError
from ftbench.reading.difference import differences
from ftbench.reading.folders import folder_of
from ftbench.reading.query import query
from ftbench.tables.store import read_table, write_table


@pytest.fixture
def folder(project_with_tables: Folder) -> Folder:
    return project_with_tables


def ftbench(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def test_a_query_sees_every_table_under_its_name(folder: Folder) -> None:
    done = ftbench(
        "query", "select method, count(*) as runs from runs group by method order by method", "--format", "csv"
    )
    assert list(csv.reader(StringIO(done.stdout))) == [["method", "runs"], ["better", "12"], ["plain", "6"]]
    done = ftbench("query", "select count(*) as n from predictions where role = 'id'", "--format", "json")
    assert json.loads(done.stdout) == [{"n": 200 * (18 + 3)}]
    names = [file.stem for file in (folder.places.root / "tables").glob("*.parquet")]
    for name in names:
        assert query(f"from {name}", [folder_of("demo")]).column_names[0] == "study"


def test_a_query_joins_several_studies_and_writes_parquet(folder: Folder, tmp_path: Path) -> None:
    shutil.copytree(folder.places.root, tmp_path / "results" / "other")
    out = tmp_path / "found.parquet"
    sql = "select study, count(*) as n from metrics group by study order by study"
    done = ftbench("query", sql, "-s", "demo", "-s", "results/other", "--format", "parquet", "-o", str(out))
    assert done.exit_code == 0
    rows = parquet.read_table(out).to_pylist()
    assert [row["study"] for row in rows] == ["demo", "other"]
    assert rows[0]["n"] == rows[1]["n"]


@pytest.mark.parametrize(
    "sql",
    [
        "delete from runs",
        "create table x as select 1",
        "copy runs to 'stolen.csv'",
        "select 1; select 2",
        "attach 'x.db'",
        "set memory_limit = '1GB'",
        "install httpfs",
        "insert into runs select * from runs",
        "drop view predictions",
        "pragma database_list",
        "not sql at all",
        "",
    ],
)
def test_a_query_that_does_not_only_read_is_refused(folder: Folder, sql: str) -> None:
    with pytest.raises(FtbenchError, match=r"expected one that reads|no SQL"):
        query(sql, [folder_of("demo")])
    assert not Path("stolen.csv").exists()


@pytest.mark.parametrize(
    "source",
    ["read_csv('outside.csv')", "'outside.csv'", "read_text('{root}/predictions/../../../outside.csv')", "glob('/*')"],
)
def test_a_query_opens_no_file_outside(folder: Folder, source: str) -> None:
    Path("outside.csv").write_text("secret\n1\n")
    root = folder.places.root.resolve()
    with pytest.raises(FtbenchError, match="query failed"):
        query(f"select * from {source.format(root=root)}", [folder_of("demo")])


def test_an_unknown_study_or_view_is_told_with_what_there_is(folder: Folder) -> None:
    with pytest.raises(FtbenchError, match=r"no tables of results.*demo"):
        folder_of("dem")
    with pytest.raises(FtbenchError, match=r"rums.*Views: runs, metrics"):
        query("select * from rums", [folder_of("demo")])


def test_names_with_markup_are_printed_as_they_are(folder: Folder) -> None:
    done = ftbench("query", "select '[bold]<b>x</b>[/bold]' as name")
    assert "[bold]<b>x</b>[/bold]" in done.stdout


def test_equal_folders_have_no_difference(folder: Folder, tmp_path: Path) -> None:
    shutil.copytree(folder.places.root, tmp_path / "results" / "other")
    done = ftbench("compare", "demo", "results/other", "--format", "csv")
    assert len(done.stdout.splitlines()) == 1
    assert "same" in done.stderr


def test_moved_missing_and_changed_cells_are_told_apart(folder: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "b", folder.study)
    shutil.copytree(folder.places.root, other.places.root)
    rows = read_table("metrics", other.table("metrics")).to_pylist()
    moved = []
    for row in rows:
        if row["artifact_kind"] == "run" and row["method"] == "better" and row["eval_set"] == "test":
            if row["variant"] == "a":
                row["value"] += 0.01 + 0.001 * (row["seed"] % 2)
                row["ci_low"], row["ci_high"] = None, None
            elif row["metric"] == "accuracy":
                continue
        moved.append(row)
    write_table("metrics", moved, other.table("metrics"))
    runs = read_table("runs", other.table("runs")).to_pylist()
    for run in runs:
        run["code_fingerprint"] = "new" if run["variant"] == "a" else "old"
    write_table("runs", runs, other.table("runs"))
    for run in runs:
        run["code_fingerprint"] = "old"
    write_table("runs", runs, folder.table("runs"))
    found = {
        (row["variant"], row["eval_set"], row["metric"]): row
        for row in differences(folder_of(str(folder.places.root)), folder_of(str(other.places.root))).to_pylist()
        if row["artifact_kind"] == "run" and row["method"] == "better"
    }
    assert found["a", "test", "accuracy"]["verdict"] == "higher"
    assert found["a", "test", "accuracy"]["difference"] == pytest.approx(0.0105)
    assert found["a", "test", "accuracy"]["changed"] == "code"
    assert found["b", "test", "accuracy"]["verdict"] == "only in first"
    assert found["b", "far", "accuracy"]["verdict"] == "same"
    assert found["b", "far", "accuracy"]["changed"] == ""


def test_too_few_seeds_decide_nothing(folder: Folder, tmp_path: Path) -> None:
    folder.study = small_study(seeds=[0, 1, 2], soups={})
    folder.finish()
    other = Folder(tmp_path / "b", folder.study)
    shutil.copytree(folder.places.root, other.places.root)
    rows = read_table("metrics", other.table("metrics")).to_pylist()
    for row in rows:
        row["value"], row["ci_low"], row["ci_high"] = 0.0, None, None
    write_table("metrics", rows, other.table("metrics"))
    found = differences(folder_of(str(folder.places.root)), folder_of(str(other.places.root))).to_pylist()
    assert {row["verdict"] for row in found} == {"too few seeds"}


def test_show_can_be_narrowed_and_another_metric_chosen(folder: Folder) -> None:
    done = ftbench("show", "demo", "--method", "better/a", "--metric", "nll")
    assert done.exit_code == 0, done.output
    assert "better/a" in done.stdout
    assert "better/b" not in done.stdout
    assert "nll" in done.stdout
    for option, value in (("--task", "revews"), ("--method", "bettr"), ("--metric", "acuracy")):
        with pytest.raises(FtbenchError, match="Did you mean"):
            CliRunner().invoke(app, ["show", "demo", option, value], catch_exceptions=False)


def test_why_leads_from_a_number_to_its_run(folder: Folder) -> None:
    done = ftbench("show", "demo", "--method", "plain", "--metric", "accuracy", "--why")
    run = matrix.Run("reviews", "tiny", "plain", "default", 0)
    assert done.stdout.count(": success") == SEEDS
    for part in (
        run.artifact,
        f"results/demo/{run.artifact}/run.json",
        "commit 0123456789abcdef",
        "accuracy on far",
    ):
        assert part in done.stdout
