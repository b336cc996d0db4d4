"""The whole graph on the small study: it ends, its tables are whole, and a second run does nothing."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow.dataset
import pytest
from project import CHECKOUT, Project

from ftbench.paths import COLLECTED, COMPARED, PAGES
from ftbench.tables.store import read_table

RUNS = {f"{method}/default/s{seed}" for method in ("vanilla", "dps_dense", "linear_probe") for seed in (0, 1)}
SOUPS = {"uniform-vanilla-default", "greedy-vanilla-default"}
ARTIFACTS = (
    {f"runs/reviews/smoke_encoder/{run}" for run in RUNS}
    | {f"soups/reviews/smoke_encoder/{soup}" for soup in SOUPS}
    | {"base/reviews/smoke_encoder"}
)
KEPT = ("locks", "made", "sources", "collected")  # what later runs of the workflow look at
PROFILES = sorted(path.name for path in (CHECKOUT / "profiles").iterdir() if path.is_dir())


def table(project: Project, name: str) -> pd.DataFrame:
    return pd.read_parquet(project.results / "tables" / f"{name}.parquet")


@pytest.mark.parametrize("name", [*COLLECTED, *COMPARED])
def test_every_table_is_valid_and_readable_with_pandas(finished: Project, name: str) -> None:
    checked = read_table(name, finished.results / "tables" / f"{name}.parquet")
    assert list(table(finished, name)) == checked.column_names
    assert len(table(finished, name)) == checked.num_rows
    empty = ("missing", "tuning", "paths", "barriers", "task_vectors", "rehearsal_trace")  # none in this study
    empty = (*empty, "perturbations", "detection", "attacks", "attack_scores", "attack_comparisons", "transfer")
    assert (checked.num_rows > 0) == (name not in empty)


def test_every_cell_has_its_rows(finished: Project) -> None:
    runs, soups, metrics = (table(finished, name) for name in ("runs", "soups", "metrics"))
    assert {"/".join(run.split("/")[3:]) for run in runs.run_id} == RUNS
    assert set(runs[runs.method != "linear_probe"].status) == {"success"}
    assert {soup.split("/")[-1] for soup in soups.soup_id} == SOUPS
    assert set(soups.status) == {"success"}
    assert set(metrics.artifact_id) == ARTIFACTS
    evaluated = metrics[metrics.artifact_kind != "base"].groupby("artifact_id").eval_set.agg(set)
    assert all(sets == {"in_domain", "shifted", "prior", "select"} for sets in evaluated)
    assert set(metrics[metrics.artifact_kind == "base"].eval_set) == {"prior"}


def test_runs_of_one_seed_start_from_the_same_weights_and_say_where_they_come_from(finished: Project) -> None:
    runs = table(finished, "runs")
    assert runs.init_hash.nunique() == 1  # `init: shared`
    assert runs.checkpoint_sha256.nunique() == len(runs)
    assert runs.code_fingerprint.str.fullmatch("[0-9a-f]{16}").all()
    assert runs[["device", "versions", "config_json", "started_at", "ended_at"]].notna().all(axis=None)
    for run in runs.itertuples():
        assert json.loads(run.config_json)["seed"] == run.seed


def test_predictions_read_as_one_data_set(finished: Project) -> None:
    files = sorted((finished.results / "predictions").rglob("predictions.parquet"))
    found = pyarrow.dataset.dataset(files, format="parquet").to_table().to_pandas()
    assert set(found.artifact_id) == ARTIFACTS
    assert not found.duplicated(["artifact_id", "eval_set", "uid"]).any()
    sizes = found.groupby(["artifact_id", "eval_set"]).size()
    assert set(sizes) == {60}
    # accuracy by hand from the predictions is the accuracy of the table
    correct = found[found.gold.notna()].assign(value=lambda row: (row.gold == row.pred).astype(float))
    mine = correct.groupby(["artifact_id", "eval_set"]).value.mean()
    metrics = table(finished, "metrics")
    theirs = metrics[metrics.metric == "accuracy"].set_index(["artifact_id", "eval_set"]).value.sort_index()
    pd.testing.assert_series_equal(mine, theirs, check_names=False)


def test_the_leaderboard_holds_the_means_of_the_metrics(finished: Project) -> None:
    text = (finished.results / "report" / "leaderboard.md").read_text()
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line]
    metrics = table(finished, "metrics").query("metric == 'accuracy'")
    percent = metrics.assign(value=100 * metrics.value)
    means = percent[percent.artifact_kind == "run"].groupby(["method", "eval_set"]).value.mean()
    soups = percent[percent.artifact_kind == "soup"].set_index(["artifact_id", "eval_set"]).value
    printed = {row[0]: row for row in rows}
    for method in ("vanilla", "dps_dense", "linear_probe"):
        shown = [re.match(r"[\d.]+", cell)[0] for cell in printed[method][1:4]]
        assert shown == [f"{means[method, name]:.1f}" for name in ("in_domain", "shifted", "prior")]
    for family in ("uniform", "greedy"):
        shown = [re.match(r"[\d.]+", cell)[0] for cell in printed[f"{family} of vanilla"][3:6]]
        artifact = f"soups/reviews/smoke_encoder/{family}-vanilla-default"
        assert shown == [f"{soups[artifact, name]:.1f}" for name in ("in_domain", "shifted", "prior")]


def test_the_report_is_there_and_show_prints_the_leaderboard(finished: Project) -> None:
    for page in PAGES:
        assert (finished.results / "report" / page).stat().st_size > 0
    told = finished.run("ftbench", "show", "smoke", COLUMNS="120").stdout
    metrics = table(finished, "metrics").query(
        "metric == 'accuracy' and eval_set == 'in_domain' and method == 'vanilla'"
    )
    mean = 100 * metrics[metrics.artifact_kind == "run"].value.mean()
    assert re.search(rf"^ ?vanilla +{mean:.1f} ", told, re.M), told
    assert "results/smoke/tables" in told


def test_snakemakes_own_report_holds_every_page_and_figure(project: Project, tmp_path: Path) -> None:
    project.snakemake("--report", str(tmp_path / "report.zip"))
    with zipfile.ZipFile(tmp_path / "report.zip") as packed:
        held = {Path(name).name: packed.read(name) for name in packed.namelist()}
    for page in PAGES:
        assert held[page] == (project.results / "report" / page).read_bytes(), page
    assert b"made from its tables" in held["report.html"]  # the caption


def test_a_finished_run_leaves_no_checkpoint_no_half_file_and_no_failure(finished: Project) -> None:
    left = [path for path in (finished.results / ".work").iterdir() if path.name not in KEPT]
    assert left == []
    assert [path for path in finished.results.rglob("*") if "partial" in path.name] == []


def test_a_second_run_runs_no_job(project: Project) -> None:
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in project.results.rglob("*") if path.is_file()}

    before = state()
    told = project.snakemake()
    assert "Nothing to be done" in told.stdout + told.stderr
    assert state() == before


def test_the_workflow_passes_snakemakes_lint(finished: Project) -> None:
    assert "Congratulations" in "".join(
        finished.run("snakemake", "--lint").__dict__[name] for name in ("stdout", "stderr")
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_parses_and_leaves_a_finished_study_alone(project: Project, profile: str) -> None:
    assert project.stale("--profile", f"profiles/{profile}") == {}
