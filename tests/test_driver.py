"""A workflow that starts where another one was killed: it takes the lock away where that is safe, and only there."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftbench import driver

ARRIVE = """
import sys
from pathlib import Path
from ftbench import driver
driver.arrive(Path("work"))
print("here", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder that holds Snakemake's lock."""
    monkeypatch.chdir(tmp_path)
    driver.LOCKS.mkdir(parents=True)
    (driver.LOCKS / "0.output.lock").write_text("results/a")
    return tmp_path


@pytest.fixture
def workflow(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A workflow that has arrived in the folder and lives."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", ARRIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    yield process
    process.kill()
    process.communicate()


def locked() -> bool:
    return any(driver.LOCKS.iterdir())


def test_the_lock_of_a_killed_workflow_is_taken_away_and_told(
    workflow: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.send_signal(signal.SIGKILL)
    workflow.wait()
    Path("work/locks").mkdir(parents=True)
    with Path("work/locks/finetune--runs--a--s0").open("w") as cell:
        fcntl.flock(cell, fcntl.LOCK_EX)
        Path("work/locks/score--runs--a--s0").touch()
        driver.arrive(Path("work"))
    told = capsys.readouterr().err
    assert not locked()
    assert f"(process {workflow.pid}) was killed" in told
    assert "jobs of it still run: finetune runs/a/s0;" in told
    assert len(list(driver.SIGNS.iterdir())) == 1  # this one's


def test_the_lock_of_a_living_workflow_stays(
    workflow: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    driver.arrive(Path("work"))
    assert locked()
    assert capsys.readouterr().err == ""
    assert driver.alive()


def test_a_workflow_that_ended_by_itself_leaves_no_sign(workflow: subprocess.Popen[str]) -> None:
    workflow.communicate()
    assert list(driver.SIGNS.iterdir()) == []
    driver.arrive(Path("work"))
    assert locked()  # nobody knows whose it is


def test_a_lock_of_another_machine_or_of_nobody_known_stays(folder: Path) -> None:
    driver.arrive(Path("work"))
    assert locked()
    (driver.SIGNS / "elsewhere-5.json").write_text(json.dumps({"host": "elsewhere", "process": 5}))
    (driver.SIGNS / "here-6.json").write_text(json.dumps({"host": socket.gethostname(), "process": 6}))
    driver.arrive(Path("work"))
    assert locked()
    assert (driver.SIGNS / "elsewhere-5.json").exists()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Signs that a test made in this process."""
    yield
    while driver._held:
        driver._held.pop().close()


@pytest.mark.parametrize(
    ("announced", "expected"),
    [("", False), (f"{driver.place()}:1", False), (":login-node:1", True), (f"77:{socket.gethostname()}:1", True)],
)
def test_a_job_knows_whether_its_workflow_is_elsewhere(
    monkeypatch: pytest.MonkeyPatch, announced: str, expected: bool
) -> None:
    monkeypatch.setenv(driver.VARIABLE, announced)
    assert driver.scheduled() is expected
