"""A training that is killed or told to stop goes on where it was and ends with the same bytes as an undisturbed one."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from project import Project
from training_job import TrainingJob, wait_for, warm_driver

from ftbench.driver import VARIABLE, place
from ftbench.stage import STOPPED

LONG = {"steps": 120}
STOPS = (3, 30, 60)  # a kill comes after these steps; with `update_ratio: 0.2` in an odd, an even and an odd stage


@pytest.fixture(scope="module")
def warm(finished: Project) -> Iterator[str]:
    """Where the jobs of this module find a process that has imported torch."""
    with warm_driver(finished) as (_, found):
        yield found


def same_log(one: Path, other: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other), check_exact=True)


@pytest.mark.parametrize(
    ("method", "training"),
    [
        ("vanilla", LONG),
        ("vanilla", {**LONG, "keep": "best", "evaluations": 10}),
        ("dps_dense", {**LONG, "accumulation": 2}),
        ("dps_mix", LONG),
    ],
    ids=["vanilla", "vanilla keeping the best", "dps_dense", "dps_mix"],
)
def test_a_training_killed_again_and_again_ends_with_the_same_bytes(
    finished: Project, tmp_path: Path, warm: str, method: str, training: dict[str, Any]
) -> None:
    settings = {} if method == "vanilla" else {"update_ratio": 0.2}
    undisturbed, job = (
        TrainingJob(finished, tmp_path / name, method, settings, training, warm=warm) for name in ("whole", "killed")
    )
    assert "resumed" not in undisturbed.finish()
    for step in STOPS:
        command = job.start()
        job.wait_for_step(step)
        status, text = job.kill(command, signal.SIGKILL)
        assert status in (-signal.SIGKILL, 128 + signal.SIGKILL), text
        assert ("resumed after step" in text) == (step != STOPS[0]), text
        assert not job.output("model").exists()
        assert not job.output("record").exists()
    assert "resumed after step" in job.finish()
    assert job.output("model").read_bytes() == undisturbed.output("model").read_bytes()
    same_log(job.output("log"), undisturbed.output("log"))
    assert job.checkpoints() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_warning_of_the_scheduler_writes_a_checkpoint_and_ends_the_job(
    finished: Project, tmp_path: Path, warm: str, number: int
) -> None:
    # one signal meets a job in its own process, the other a fork of the warm process
    job = TrainingJob(finished, tmp_path, training={"steps": 3000}, warm="off" if number == signal.SIGTERM else warm)
    command = job.start()
    job.wait_for_step(2)
    began = time.monotonic()
    command.send_signal(number)  # to the command: it passes signals on
    text, _ = command.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert command.returncode == STOPPED, text
    assert "run again to go on" in text
    assert len(job.checkpoints()) == 1
    again = job.start()
    job.wait_for_step(int(job.checkpoints()[0].name.rpartition("-")[2]) + 2)
    _, told = job.kill(again, signal.SIGKILL)
    assert "resumed after step" in told


@pytest.mark.parametrize(
    "change",
    [{"training": {**LONG, "learning_rate": 0.002}}, {"settings": {"update_ratio": 0.3}}, {"source": "another"}],
    ids=["training setting", "setting of the method", "source"],
)
def test_a_changed_job_leaves_the_checkpoint_of_the_old_one_alone(
    finished: Project, tmp_path: Path, warm: str, change: dict[str, Any]
) -> None:
    common = {"method": "dps_dense", "settings": {"update_ratio": 0.2}, "training": LONG, "warm": warm}
    job = TrainingJob(finished, tmp_path, **common)
    command = job.start()
    job.wait_for_step(5)
    assert job.kill(command, signal.SIGTERM)[0] == STOPPED
    kept = job.checkpoints()
    assert "resumed" not in TrainingJob(finished, tmp_path, **{**common, **change}).finish()
    assert job.checkpoints() == kept
    assert "resumed after step" in job.finish()


def test_a_second_job_on_a_cell_is_refused_and_told_who_holds_it(finished: Project, tmp_path: Path, warm: str) -> None:
    job = TrainingJob(finished, tmp_path, training={"steps": 3000}, warm=warm)
    first = job.start()
    job.wait_for_step(1)
    second = job.start()
    text, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"another job works on this cell: process {job.process()} on " in text
    assert job.kill(first, signal.SIGTERM)[0] == STOPPED


def test_a_job_stops_with_a_checkpoint_when_its_workflow_is_gone(
    finished: Project, tmp_path: Path, warm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = subprocess.Popen(["sleep", "1000"])
    monkeypatch.setenv(VARIABLE, f"{place()}:{workflow.pid}")
    job = TrainingJob(finished, tmp_path, training={"steps": 3000}, warm=warm)
    command = job.start()
    job.wait_for_step(1)
    assert command.poll() is None
    workflow.kill()
    workflow.wait()
    wait_for("the end of the job", lambda: command.poll() is not None, 30)
    assert command.returncode == STOPPED
    assert len(job.checkpoints()) == 1
