"""The adapter around a stage: whole outputs or none, and a reason for every failure."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sketch import BOTH, STAGE, arguments, failure, left, no_failure, sketch_stage, write_both  # noqa: F401, a fixture

from ftbench.config.errors import FtbenchError
from ftbench.outputs import Outputs
from ftbench.stage import execute, main


def test_a_finished_stage_leaves_its_outputs_and_nothing_else(stage: Any, tmp_path: Path) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs.work.mkdir(parents=True)
        (outputs.work / "checkpoint").write_text("1")
        assert left(tmp_path) == []
        write_both(spec, inputs, outputs)
        assert outputs.source == "abc"

    stage(run)
    assert main(arguments(tmp_path)) == 0
    assert left(tmp_path) == BOTH
    assert no_failure(tmp_path)
    assert {item.name for item in (tmp_path / ".work").iterdir()} == {"locks", "made"}


def test_a_stage_that_dies_half_way_leaves_no_output_but_its_checkpoint_and_its_reason(
    stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs.work.mkdir(parents=True, exist_ok=True)
        seen.append((outputs.work / "checkpoint").exists())
        (outputs.work / "checkpoint").write_text("1")
        outputs["model"].write_text("half")
        if len(seen) == 1:
            raise ValueError("the second half is missing")
        write_both(spec, inputs, outputs)

    stage(run)
    assert main(arguments(tmp_path)) == 1
    assert left(tmp_path) == []
    expected = {"stage": STAGE, "cell": "task/model", "reason": "ValueError: the second half is missing"}
    assert expected.items() <= failure(tmp_path).items()
    assert "Traceback" in capsys.readouterr().err
    assert main(arguments(tmp_path)) == 0
    assert seen == [False, True]
    assert left(tmp_path) == BOTH
    assert no_failure(tmp_path)


def test_a_checkpoint_belongs_to_one_spec_and_one_source(stage: Any, tmp_path: Path) -> None:
    places = []

    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        places.append(outputs.work)
        raise FtbenchError("no")

    stage(run)
    for changes in ({}, {"spec": '{"number": 1}'}, {"spec": '{"number": 2}'}, {"source": "def"}):
        assert main(arguments(tmp_path, **changes)) == 1
    assert places[0] == places[1]  # a default that is written out is the same spec
    assert len(set(places)) == 3


def test_an_error_that_users_can_mend_is_told_without_a_traceback(
    stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        raise FtbenchError("config/x.yaml: key `a`: found 1")

    stage(run)
    assert main(arguments(tmp_path)) == 1
    printed = capsys.readouterr()
    assert "error: config/x.yaml: key `a`: found 1" in printed.out
    assert "Traceback" not in printed.out + printed.err
    assert failure(tmp_path)["reason"] == "config/x.yaml: key `a`: found 1"


def test_a_stage_that_forgets_an_output_commits_none(stage: Any, tmp_path: Path) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs["model"].write_text("alone")

    stage(run)
    assert main(arguments(tmp_path)) == 1
    assert left(tmp_path) == []
    assert "did not write its output `record`" in failure(tmp_path)["reason"]


def test_a_failed_stage_leaves_older_outputs_as_they_were(stage: Any, tmp_path: Path) -> None:
    stage(write_both)
    assert main(arguments(tmp_path)) == 0

    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs["model"].write_text("new")
        raise FtbenchError("no")

    stage(run)
    assert main(arguments(tmp_path, spec='{"number": 2}')) == 1
    assert left(tmp_path) == BOTH
    assert (tmp_path / "out" / "model.bin").read_text() == "model 1"


def test_the_record_comes_last_and_an_old_one_never_stands_beside_a_new_model(
    stage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(write_both)
    assert main(arguments(tmp_path)) == 0
    real, renamed = os.replace, []

    def replace(source: Path, target: Path) -> None:
        renamed.append(Path(target).name)
        if len(renamed) == 2:
            raise OSError(errno.EIO, "the disk has gone")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert main(arguments(tmp_path, spec='{"number": 2}')) == 1
    assert renamed == BOTH
    assert left(tmp_path) == ["model.bin"]


def test_a_folder_as_output_replaces_the_folder_before(stage: Any, tmp_path: Path) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs["snapshot"].mkdir()
        (outputs["snapshot"] / f"file{spec.number}").write_text("x")
        outputs["record"].write_text("{}")

    stage(run)
    final = {"snapshot": tmp_path / "snapshot", "record": tmp_path / "record.json"}
    for number in (1, 2):
        execute(STAGE, {"number": number}, {}, final, tmp_path / ".work", "")
        assert [file.name for file in final["snapshot"].iterdir()] == [f"file{number}"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["record.json", "snapshot"]


# wrong command lines


def test_a_misspelt_key_of_the_spec_is_refused_with_the_nearest(stage: Any, tmp_path: Path) -> None:
    stage(write_both)
    assert main(arguments(tmp_path, spec='{"numbr": 2}')) == 1
    assert "Did you mean `number`?" in failure(tmp_path)["reason"]
    assert left(tmp_path) == []


def test_an_unknown_stage_and_a_path_without_a_name_are_refused(tmp_path: Path, stage: Any) -> None:
    stage(write_both)
    with pytest.raises(FtbenchError, match="Did you mean `finetune`"):
        execute("finetun", {}, {}, {}, tmp_path, "")
    assert main([*arguments(tmp_path)[:-2], "model.bin"]) == 1
    assert "expected `name=path`" in failure(tmp_path)["reason"]
    with pytest.raises(SystemExit) as ended:
        main([STAGE])
    assert ended.value.code == 2


def test_the_command_line_stands_in_the_log_to_be_pasted(
    stage: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(write_both)
    words = arguments(tmp_path, spec='{"number": 7}')
    assert main(words) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert shlex.split(line) == ["+", "python", "-m", "ftbench.stage", *words]
