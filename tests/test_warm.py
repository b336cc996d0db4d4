"""The process that forks for local jobs: a job run through it behaves as one run in place, and nothing outlives it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
from project import Project
from training_job import PATIENCE, TrainingJob, alive, wait_for, warm_driver

from ftbench.warm import READY, in_place

Driver = tuple[subprocess.Popen[str], str]


@pytest.fixture
def driver(finished: Project) -> Iterator[Driver]:
    with warm_driver(finished) as (process, found):
        yield process, found


def socket_of(found: str) -> Path:
    return Path(found.partition(":")[2])


def test_a_job_of_the_warm_process_equals_one_run_in_place(finished: Project, tmp_path: Path, driver: Driver) -> None:
    warm = TrainingJob(finished, tmp_path / "warm", warm=driver[1])
    cold = TrainingJob(finished, tmp_path / "cold")
    told = [job.finish().replace(str(job.folder), "") for job in (warm, cold)]
    assert warm.output("model").read_bytes() == cold.output("model").read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(warm.output("log")), pd.read_parquet(cold.output("log")))
    assert told[0].splitlines()[0] == told[1].splitlines()[0]
    assert told[0].splitlines()[-1] == told[1].splitlines()[-1]


def test_exit_status_and_error_of_a_failing_job_pass_through(finished: Project, tmp_path: Path, driver: Driver) -> None:
    for warm in (driver[1], "off"):
        command = TrainingJob(finished, tmp_path, training={"steps": -1}, warm=warm).start()
        text, _ = command.communicate(timeout=PATIENCE)
        assert command.returncode == 1
        assert "steps" in text
        assert text.splitlines()[-1].startswith("error: ")


def test_a_killed_command_takes_its_job_along(finished: Project, tmp_path: Path, driver: Driver) -> None:
    job = TrainingJob(finished, tmp_path, training={"steps": 3000}, warm=driver[1])
    command = job.start()
    job.wait_for_step(2)
    training = job.process()
    assert training != command.pid
    assert alive(training)
    command.kill()
    command.wait()
    wait_for("the end of the job", lambda: not alive(training), 10)


def test_what_needs_the_hub_or_is_light_before_the_process_is_ready_runs_in_place(tmp_path: Path) -> None:
    def where(stage: str, hub: object = None) -> str:
        line = [stage, "--cell", "snli", "--spec", json.dumps({"hub": hub, "local": []}), "--outputs", "a=b"]
        return "in place" if in_place(line, tmp_path / "socket") else "warm"

    hub = {"repository": "some/rows", "revision": "0" * 40}
    stages = ("fetch", "base", "prepare", "split", "audit", "finetune", "predict")
    before = {stage: where(stage) for stage in stages}
    (tmp_path / READY).touch()
    assert {stage for stage in stages if before[stage] == "in place"} == {"fetch", "prepare", "split", "audit"}
    assert {where(stage) for stage in stages} == {"warm"}
    assert {where(stage, hub) for stage in ("fetch", "base")} == {"in place"}


def test_the_process_that_forks_has_a_single_thread(driver: Driver) -> None:
    ready = socket_of(driver[1]).with_name(READY)
    wait_for("the warm process", ready.exists, PATIENCE)
    (kept,) = psutil.Process(driver[0].pid).children()
    assert kept.num_threads() == 1


@pytest.mark.parametrize("end", ["regular", "killed"])
def test_the_socket_is_private_and_goes_with_the_workflow(finished: Project, end: str) -> None:
    with warm_driver(finished) as (process, found):
        folder = socket_of(found).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        kept = [child.pid for child in psutil.Process(process.pid).children()]
        assert len(kept) == 1
        if end == "killed":
            process.send_signal(signal.SIGKILL)
    wait_for("the end of the warm process and its folder", lambda: not (folder.exists() or alive(kept[0])), 30)


def test_a_job_whose_warm_process_is_gone_runs_in_place(finished: Project, tmp_path: Path) -> None:
    text = TrainingJob(finished, tmp_path, warm=f":{tmp_path}/no-socket").finish()
    assert "step 40 of 40" in text
