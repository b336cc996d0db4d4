"""What two commits made side by side, and how many seeds a difference would take."""

from __future__ import annotations

import csv
import json
import shutil
from io import StringIO

import numpy as np
import pytest
from results_folder import SEEDS, Folder
from typer.testing import CliRunner, Result

from ftbench.cli import app
from ftbench.config.errors import FtbenchError
from ftbench.reading.folders import folder_of
from ftbench.tables.store import read_table, write_table


@pytest.fixture
def folder(project_with_tables: Folder) -> Folder:
    return project_with_tables


def ftbench(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=True)


def made_from(folder: Folder, commit: str, method: str | None = None) -> None:
    """Write another commit into the runs of a method, or of all."""
    runs = read_table("runs", folder.table("runs")).to_pylist()
    for run in runs:
        if method in (None, run["method"]):
            run["git_commit"], run["code_fingerprint"] = commit, commit[:4]
    write_table("runs", runs, folder.table("runs"))


def test_a_commit_stands_for_the_runs_that_were_made_from_it(folder: Folder) -> None:
    old, new = "a" * 40, "b" * 40
    before = folder.places.root.parent / "before"
    shutil.copytree(folder.places.root, before)
    made_from(Folder(folder.root, folder.study), new)
    folder.places = type(folder.places)(before)
    made_from(folder, old, "plain")
    done = ftbench("compare", "aaaaaaaa", "bbbbbbbb", "--format", "csv", "--all")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(StringIO(done.stdout)))
    found = {(row["method"], row["verdict"], row["changed"]) for row in rows if row["artifact_kind"] == "run"}
    assert found == {("plain", "same", "code"), ("better", "only in second", "")}
    assert {row["artifact_kind"] for row in rows} == {"run"}  # of the soup no commit is known here
    # equal scores of other code are shown without being asked for
    shown = ftbench("compare", "aaaaaaaa", "bbbbbbbb", "--format", "csv").stdout
    assert ",same," in shown
    done = ftbench("query", "select distinct method from metrics", "-s", "results/before@aaaaaaaa", "--format", "csv")
    assert done.stdout.split() == ["method", "plain"]


def test_a_commit_of_two_folders_or_of_none_is_told_with_what_there_is(folder: Folder) -> None:
    shutil.copytree(folder.places.root, folder.places.root.parent / "again")
    with pytest.raises(FtbenchError, match=r"results/again@0123456.*results/demo@0123456"):
        folder_of("0123456")
    with pytest.raises(FtbenchError, match=r"nothing that commit fffffff made.*0123456789ab"):
        folder_of("demo@fffffff")
    with pytest.raises(FtbenchError, match="no tables of results"):
        folder_of("fffffff")


def test_the_seeds_that_a_difference_takes_follow_from_the_spread_of_pairs(folder: Folder) -> None:
    """Against the normal approximation n = ((z_0.975 + z_0.8) sd / d)^2, which is one or two seeds too low."""
    done = ftbench("power", "0.01", "--study", "demo", "--format", "json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    scores = {
        (row["method"], row["variant"], row["seed"]): row["value"]
        for row in read_table("metrics", folder.table("metrics")).to_pylist()
        if (row["artifact_kind"], row["eval_set"], row["metric"]) == ("run", "far", "accuracy")
    }
    (row,) = (row for row in rows if (row["variant"], row["eval_set"]) == ("a", "far"))
    pairs = np.array([scores["better", "a", seed] - scores["plain", "default", seed] for seed in range(SEEDS)])
    assert row["deviation"] == pytest.approx(pairs.std(ddof=1))
    assert row["observed"] == pytest.approx(pairs.mean())
    rough = ((1.959964 + 0.841621) * pairs.std(ddof=1) / 0.01) ** 2
    assert rough <= row["seeds_needed"] <= rough + 4
    assert {(row["method"], row["eval_set"]) for row in rows} == {
        ("better", name) for name in ("test", "far", "farther", "old")
    }
    with pytest.raises(FtbenchError, match="above 0"):
        CliRunner().invoke(app, ["power", "0"], catch_exceptions=False)
