"""The `ftbench` command: what it prints, and that mistakes end with status 1 and no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configured import DATASETS, STUDY, configured

from ftbench import cli
from ftbench.paths import DATA_ROOT_VARIABLE

ROOT = Path(__file__).parents[1]
KINDS = ["methods", "datasets", "models", "studies", "soups", "attacks", "perturbations", "metrics"]


class Result:
    """How a call of the command ended."""

    def __init__(self, status: int, out: str, error: str) -> None:
        self.status, self.out, self.error = status, out, error


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command's entry point in a folder; nothing that it sets in the environment stays."""

    def run(*arguments: str, folder: Path = ROOT) -> Result:
        monkeypatch.chdir(folder)
        monkeypatch.setenv(DATA_ROOT_VARIABLE, "")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["ftbench", *arguments])
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


def assert_refused(result: Result, *parts: str) -> None:
    assert result.status == 1
    assert result.error.startswith("error: ")
    assert "Traceback" not in result.out + result.error
    for part in parts:
        assert part in result.error, result.error


def test_check_reads_every_shipped_study(call) -> None:
    result = call("check")
    studies = len(list((ROOT / "config" / "studies").glob("*.yaml")))
    assert result.status == 0
    assert f"{studies} stud" in result.out
    assert "no problem found" in result.out


def test_check_of_one_study_by_name_and_by_path(call) -> None:
    for reference in ("demo", "config/studies/demo.yaml", str(ROOT / "config" / "studies" / "demo.yaml")):
        result = call("check", reference)
        assert (result.status, result.out) == (0, "1 study checked: no problem found\n")


def test_check_tells_the_mistakes_of_all_files_at_once(call, tmp_path: Path) -> None:
    root = configured(tmp_path, {**STUDY, "sedes": [1]}, {**DATASETS, "reviews": {**DATASETS["reviews"], "fileds": 1}})
    (root / "config" / "studies" / "other.yaml").write_text(yaml.safe_dump({**STUDY, "baselin": "vanilla"}))
    assert_refused(call("check", folder=root), "small.yaml", "`sedes`", "other.yaml", "`baselin`", "`reviews.fileds`")


def test_check_tells_what_only_the_whole_study_shows(call, tmp_path: Path) -> None:
    root = configured(tmp_path, {**STUDY, "models": ["tinny"]})
    assert_refused(call("check", folder=root), "small.yaml", "Did you mean `tiny`?")


def test_check_and_plan_outside_a_project_say_where_to_run(call, tmp_path: Path) -> None:
    assert_refused(call("check", folder=tmp_path), "config/studies", "project's folder")
    assert_refused(call("plan", folder=tmp_path), "no such study")


@pytest.mark.parametrize("command", ["check", "plan", "show", "tables"])
def test_a_wrong_study_name_is_told_with_the_nearest(call, command: str) -> None:
    assert_refused(call(command, "demmo"), "Did you mean `demo`?")
    assert_refused(call(command, "absent.yaml"), "no such file")


def test_plan_prints_the_matrix_and_the_jobs_of_each_stage(call, tmp_path: Path) -> None:
    result = call("plan", "small", folder=configured(tmp_path))
    assert result.status == 0
    assert "1 task(s) x 1 model(s) x 2 method setting(s) x 2 seed(s)" in result.out
    counts = {
        words[0]: int(words[1])
        for line in result.out.splitlines()
        if len(words := line.replace("│", " ").split()) > 1 and words[1].isdigit() and words[0].islower()
    }
    # 2 methods x 2 seeds; a soup for each method; base, runs and soups are predicted and scored
    expected = {"finetune": 4, "soup": 2, "predict": 7, "score": 7, "fetch": 3, "base": 1, "upstream": 1, "report": 1}
    assert expected.items() <= counts.items()
    assert counts.pop("all") == sum(counts.values())


def test_plan_refuses_a_study_with_a_problem(call, tmp_path: Path) -> None:
    assert_refused(call("plan", "small", folder=configured(tmp_path, {**STUDY, "models": ["tinny"]})), "`tinny`")


def test_plan_takes_local_files_and_refuses_an_absent_folder_of_them(call, tmp_path: Path) -> None:
    root = configured(tmp_path / "project")
    (tmp_path / "data").mkdir()
    assert call("plan", "small", "--data-root", str(tmp_path / "data"), folder=root).status == 0
    refused = call("plan", "small", "--data-root", str(tmp_path / "absent"), folder=root)
    assert_refused(refused, str(tmp_path / "absent"), "data_root")


@pytest.mark.parametrize("kind", KINDS)
def test_list_gives_a_line_for_everything_of_a_kind(call, kind: str) -> None:
    result = call("list", kind)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines
    if kind != "attacks":
        assert all(len(line.split()) > 1 for line in lines)
    expected = {"methods": "vanilla", "datasets": "snli", "models": "roberta-base", "studies": "demo"}
    expected |= {"soups": "greedy", "metrics": "accuracy"}
    if kind in expected:
        assert expected[kind] in {line.split()[0] for line in lines}


def test_list_of_an_empty_project_says_that_there_is_nothing(call, tmp_path: Path) -> None:
    for kind in ("datasets", "models", "studies"):
        result = call("list", kind, folder=tmp_path)
        assert (result.status, result.out) == (0, f"no {kind} found\n")


def test_list_of_a_broken_catalogue_is_an_error_in_words(call, tmp_path: Path) -> None:
    root = configured(tmp_path, datasets={"reviews": {}})
    assert_refused(call("list", "datasets", folder=root), "config/datasets/small.yaml", "`reviews.title`")


@pytest.mark.parametrize("arguments", [["list", "things"], ["plan", "--nothing"], ["frobnicate"]])
def test_a_wrong_use_of_the_command_ends_with_status_2_and_no_traceback(call, arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.status == 2
    assert "Traceback" not in result.error


def test_show_before_the_study_ran_says_what_to_do(call, tmp_path: Path) -> None:
    result = call("show", "small", folder=configured(tmp_path))
    assert_refused(result, "results/small/tables")


def test_schema_writes_the_schema_of_all_files(call, tmp_path: Path) -> None:
    result = call("schema", folder=configured(tmp_path))
    assert result.status == 0
    schemas = json.loads((tmp_path / "config" / "schema.json").read_text())
    assert set(schemas) == {"study", "dataset", "model"}
    assert "learning_rate" in json.dumps(schemas["study"])


def test_schema_outside_a_project_is_an_error_in_words(call, tmp_path: Path) -> None:
    assert_refused(call("schema", folder=tmp_path), "config")


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "ftbench.cli", "check", "smal"],
        cwd=configured(tmp_path), env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Did you mean `small`?" in done.stderr
    assert "Traceback" not in done.stderr
