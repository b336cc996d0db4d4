"""What stops a stage from outside: signals, another job on its cell, a full disk. Nothing half-written stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sketch import BOTH, STAGE, arguments, failure, left, no_failure, sketch_stage, write_both  # noqa: F401, a fixture

from ftbench.outputs import Outputs, Stopped
from ftbench.stage import STOPPED, main
from ftbench.training.weights import save_weights

ROOT = Path(__file__).parents[1]

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


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_and_no_rest(small_disk: Path) -> None:
    import torch

    from ftbench.training.checkpoint import Checkpoints

    checkpoints = Checkpoints(small_disk / "work")
    checkpoints.save(1, {"position": [0, 1, 1], "weights": torch.ones(1000)})
    with pytest.raises(Exception, match="No space left"):
        checkpoints.save(2, {"position": [0, 2, 2], "weights": torch.ones(200_000)})
    assert [path.name for path in (small_disk / "work").iterdir()] == ["checkpoint-0000000001"]
    kept = checkpoints.load()
    assert kept is not None
    assert kept["position"] == [0, 1, 1]
    checkpoints.save(3, {"position": [0, 3, 3], "weights": torch.ones(1000)})
    assert [path.name for path in (small_disk / "work").iterdir()] == ["checkpoint-0000000003"]


# results removed under a running job


@pytest.mark.parametrize("weights", [False, True])  # safetensors has an error of its own
def test_a_folder_of_results_that_is_removed_under_a_job_is_told_and_the_next_run_makes_it_anew(
    stage: Any, tmp_path: Path, weights: bool
) -> None:
    import shutil

    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        import torch

        shutil.rmtree(tmp_path / "out")
        if weights:
            save_weights({"one": torch.ones(3)}, outputs["model"])
        write_both(spec, inputs, outputs)

    stage(run)
    assert main(arguments(tmp_path)) == 1
    assert f"the folder {tmp_path / 'out'} was removed while this job ran" in failure(tmp_path)["reason"]
    assert not (tmp_path / "out").exists()
    stage(write_both)
    assert main(arguments(tmp_path)) == 0
    assert left(tmp_path) == BOTH
    assert no_failure(tmp_path)


# jobs of a scheduler


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job was started by a workflow on another machine."""
    monkeypatch.setenv("FTBENCH_DRIVER", ":login-node:1")


def test_a_job_of_a_scheduler_waits_for_the_one_that_holds_its_cell(
    stage: Any, tmp_path: Path, sleeper: subprocess.Popen[str], scheduled: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from threading import Timer

    stage(write_both)
    Timer(1.0, sleeper.kill).start()
    assert main(arguments(tmp_path)) == 0
    assert "waiting for it" in capsys.readouterr().out
    assert left(tmp_path) == BOTH


def test_what_a_job_of_a_scheduler_has_finished_is_taken_over_when_the_workflow_has_lost_it(
    stage: Any, tmp_path: Path, scheduled: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from ftbench import finished

    runs: list[int] = []
    given = tmp_path / "given"
    given.write_text("one")

    def run(spec: Any, inputs: Mapping[str, Path], outputs: Outputs) -> None:
        runs.append(spec.number)
        outputs["model"].write_text(f"model {len(runs)}")
        outputs["record"].write_text("{}")

    def again(**changes: Any) -> str:
        for file in (tmp_path / "out").glob("*"):  # as Snakemake does before it starts a job that it calls incomplete
            file.unlink()
        words = arguments(tmp_path, **changes)
        place = words.index("--outputs")
        assert main([*words[:place], "--inputs", f"given={given}", *words[place:]]) == 0
        assert left(tmp_path) == BOTH
        return (tmp_path / "out" / "model.bin").read_text()

    stage(run)
    assert again() == "model 1"
    younger = time.time() + 5
    os.utime(given, (younger, younger))  # another time, the same content
    assert again() == "model 1"
    assert "that result is taken" in capsys.readouterr().out
    assert again(spec='{"number": 2}') == "model 2"
    assert again(source="other") == "model 3"
    given.write_text("two")
    assert again() == "model 4"
    assert again() == "model 4"
    finished.forget(tmp_path / ".work")
    assert again() == "model 5"


def test_a_job_of_a_workflow_on_this_machine_keeps_nothing(stage: Any, tmp_path: Path) -> None:
    stage(write_both)
    assert main(arguments(tmp_path)) == 0
    assert not (tmp_path / ".work" / "finished").exists()
