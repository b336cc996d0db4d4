"""The one line of progress that `make demo` shows, and what it must never hide."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ftbench import made, progress

WORKFLOW = """Building DAG of jobs...
[Fri Nov 20 23:57:36 2026]
Job 3: fetching reviews
Reason: Missing output files: a.parquet
[Fri Nov 20 23:57:37 2026]
Finished jobid: 3 (Rule: fetch)
1 of 4 steps (25%) done
Select jobs to execute...
Job 2: preparing reviews
Error in rule prepare:
    message: preparing reviews
error: data set reviews: found a label that the entry does not name
Exiting because a job execution failed. Look above for error messages
"""


def test_progress_tells_jobs_and_passes_errors_on(capsys: pytest.CaptureFixture[str]) -> None:
    progress.follow(WORKFLOW.splitlines(keepends=True), tty=False)
    shown = capsys.readouterr().out
    assert "1 of 4 jobs" in shown
    assert "fetching reviews" in shown
    assert "found a label that the entry does not name" in shown
    assert "Exiting because a job execution failed" in shown
    assert "Select jobs" not in shown
    assert "Reason:" not in shown


def heard(*lines: tuple[float, str], before: Mapping[str, float] | None = None) -> progress.Pace:
    pace = progress.Pace(0.0, before or {})
    for now, line in lines:
        pace.hear(line, now)
    return pace


COUNTS = [
    (0.0, "job    count"),
    (0.0, "train      4"),
    (0.0, "score     10"),
    (0.0, "all        1"),
    (0.0, "total     15"),
]


def test_the_estimate_follows_the_pace_of_each_rule() -> None:
    begun = [(0.0, "Job 1: training a"), (0.0, "Job 2: training b")]
    trained = [(30.0, "Finished jobid: 1 (Rule: train)"), (30.0, "Finished jobid: 2 (Rule: train)")]
    assert heard(*COUNTS, *begun).remaining(20.0) == ""
    # two at once: two trainings of 30 s; ten scores count like the only rule that is known, then as they are
    assert heard(*COUNTS, *begun, *trained).remaining(30.0) == ", about 3 min left"
    scored = [(30.0, "Job 3: scoring a"), (30.0, "Job 4: training c"), (32.0, "Finished jobid: 3 (Rule: score)")]
    # left are 28 s and 30 s of training and nine scores of 2 s, two jobs at once
    assert heard(*COUNTS, *begun, *trained, *scored).remaining(32.0) == ", about 38 s left"
    # a failed training runs no longer: 62 s of work in 31 s were two at once, and 78 s of it are left
    failed = [(32.0, "Error in rule train:"), (32.0, "    jobid: 4")]
    assert heard(*COUNTS, *begun, *trained, *scored, *failed).remaining(31.0) == ", about 39 s left"


def test_the_estimate_knows_what_jobs_took_before(tmp_path: Path) -> None:
    for cell, seconds in (("a", 3.0), ("b", 5.0)):
        made.write(tmp_path / "study" / ".work", made.Made("score", cell, "", {}, seconds, "2026-01-01T00:00:00+00:00"))
    before = progress.seconds_before(tmp_path)
    assert before == {"score": 4.0}
    begun = [(0.0, "Job 1: training a"), (30.0, "Finished jobid: 1 (Rule: train)")]
    # one at a time: three trainings of 30 s and ten scores of 4 s
    assert heard(*COUNTS, *begun, before={**before, "train": 10.0}).remaining(30.0) == ", about 2 min left"
    assert progress.seconds_before(tmp_path / "nowhere") == {}


def test_no_estimate_in_the_first_moments() -> None:
    assert heard((0.0, "Job 1: a"), (1.0, "Finished jobid: 1 (Rule: fetch)")).remaining(1.5) == ""


def test_the_exit_status_is_the_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["progress", sys.executable, "-c", "import sys; sys.exit(3)"])
    assert progress.main() == 3
