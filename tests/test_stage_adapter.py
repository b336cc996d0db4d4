"""The adapter around a stage: whole outputs or none, one job a cell, and a reason for every failure."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.outputs import Outputs, Stopped
from ftbench.stage import STOPPED, execute, main

ROOT = Path(__file__).parents[1]
STAGE = "sketch"
Run = Callable[[Any, Mapping[str, Path], Outputs], None]


class Spec(Strict):
    number: int = 1


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Run], None]]:
    """`stage(run)` makes a plain function the stage `sketch`; what `main` sets in the process is taken back."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS",
                     "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"):  # fmt: skip
        monkeypatch.setenv(variable, os.environ.get(variable, "1"))
    handler = signal.getsignal(signal.SIGTERM)

    def install(run: Run) -> None:
        module = types.ModuleType(f"ftbench.stages.{STAGE}")
        module.__spec__ = types.SimpleNamespace(name=module.__name__)  # type: ignore[assignment]
        module.Spec, module.run = Spec, run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    yield install
    signal.signal(signal.SIGTERM, handler)


def arguments(folder: Path, **changes: Any) -> list[str]:
    """The command line of the stage with two outputs, the record last."""
    settings = {"cell": "task/model", "spec": "{}", "work": folder / ".work", "source": "abc", **changes}
    words = [STAGE]
    for name, value in settings.items():
        words += [f"--{name}", str(value)]
    return [*words, "--outputs", f"model={folder}/out/model.bin", f"record={folder}/out/record.json"]


def write_both(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    outputs["model"].write_text(f"model {spec.number}")
    outputs["record"].write_text("{}")


def left(folder: Path) -> list[str]:
    """Names in the output folder."""
    return sorted(file.name for file in (folder / "out").iterdir()) if (folder / "out").is_dir() else []


def failure(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / ".work" / "failures" / f"{STAGE}--task--model.json").read_text())
    return content


def no_failure(folder: Path) -> bool:
    return not list((folder / ".work").glob("failures/*"))


BOTH = ["model.bin", "record.json"]


# whole or nothing


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
    assert [item.name for item in (tmp_path / ".work").iterdir()] == ["locks"]


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
    stage(lambda spec, inputs, outputs: outputs["model"].write_text("alone"))
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
    import shlex

    stage(write_both)
    words = arguments(tmp_path, spec='{"number": 7}')
    assert main(words) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert shlex.split(line) == ["+", "python", "-m", "ftbench.stage", *words]


# signals


def test_a_stage_that_was_told_to_stop_ends_with_its_own_status_and_no_failure(stage: Any, tmp_path: Path) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs["model"].write_text("half")
        raise Stopped("a checkpoint was written at step 3")

    stage(run)
    assert main(arguments(tmp_path)) == STOPPED == 75
    assert left(tmp_path) == []
    assert no_failure(tmp_path)


def test_a_signal_ends_a_stage_without_a_half_file(stage: Any, tmp_path: Path) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs["model"].write_text("half")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    stage(run)
    assert main(arguments(tmp_path)) == 1
    assert left(tmp_path) == []
    assert "stopped by a signal" in failure(tmp_path)["reason"]


SLEEPER = """
import sys, time, types
from pathlib import Path
from ftbench.config.strict import Strict
from ftbench.stage import main

class Spec(Strict):
    number: int = 1

def run(spec, inputs, outputs):
    outputs["model"].write_text("half")
    print("ready", flush=True)
    time.sleep(60)

module = types.ModuleType("ftbench.stages.sketch")
module.__spec__ = types.SimpleNamespace(name=module.__name__)
module.Spec, module.run = Spec, run
sys.modules[module.__name__] = module
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that works on the cell and has written half of it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, *arguments(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line != "ready\n":
        pass
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_job_on_a_cell_is_refused_with_the_name_of_the_first(
    stage: Any, tmp_path: Path, sleeper: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stage(write_both)
    assert main(arguments(tmp_path)) == 1
    printed = capsys.readouterr().out
    assert f"another job works on this cell: process {sleeper.pid} on" in printed
    assert left(tmp_path) == [".model.partial.model.bin"]  # the first job's work is not touched
    assert main(arguments(tmp_path, cell="task/other")) == 0  # another cell is free


def test_a_killed_job_frees_its_cell_and_its_half_file_is_no_result(
    stage: Any, tmp_path: Path, sleeper: subprocess.Popen[str]
) -> None:
    os.kill(sleeper.pid, signal.SIGKILL)
    sleeper.wait()
    assert left(tmp_path) == [".model.partial.model.bin"]
    stage(write_both)
    assert main(arguments(tmp_path)) == 0
    assert left(tmp_path) == BOTH
    assert (tmp_path / "out" / "model.bin").read_text() == "model 1"


# a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    ) if os.geteuid() == 0 and sys.platform == "linux" else None  # fmt: skip
    if mounted is None or mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def write_parquet(file: Path) -> None:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"a": np.random.default_rng(0).random(200_000)}), file)


def write_safetensors(file: Path) -> None:
    import torch

    from ftbench.training.weights import save_weights

    save_weights({"a": torch.zeros(200_000)}, file)


def write_text(file: Path) -> None:
    file.write_text("x" * 1_000_000)


WRITERS = [write_parquet, write_safetensors, write_text]


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_a_full_disk_is_named_and_leaves_no_half_file(
    stage: Any, tmp_path: Path, small_disk: Path, writer: Callable[[Path], None]
) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        writer(outputs["model"])

    stage(run)
    assert main(arguments(small_disk, work=tmp_path / ".work")) == 1
    assert left(small_disk) == []
    assert "no space left on the device" in failure(tmp_path)["reason"]


def test_a_disk_too_full_for_the_reason_still_tells_it_in_the_log(
    stage: Any, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        write_text(small_disk / "filler")

    stage(run)
    assert main(arguments(small_disk)) == 1
    printed = capsys.readouterr().out
    assert "error: no space left on the device" in printed
    assert "the failure could not be recorded" in printed


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_told_wherever_it_is_met(stage: Any, tmp_path: Path, number: int) -> None:
    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        outputs["model"].write_text("half")
        raise OSError(number, os.strerror(number), "results/model.safetensors")

    stage(run)
    assert main(arguments(tmp_path)) == 1
    assert left(tmp_path) == []
    assert "no space left on the device" in failure(tmp_path)["reason"]
    assert "results/model.safetensors" in failure(tmp_path)["reason"]
