"""The one line of progress that `make demo` shows, and what it must never hide."""

from __future__ import annotations

import sys

import pytest

from ftbench import progress

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


def test_the_estimate_follows_the_pace() -> None:
    assert progress.remaining(0, 10, 30.0) == ""
    assert progress.remaining(5, 10, 30.0) == ", about 30 s left"
    assert progress.remaining(1, 10, 60.0) == ", about 9 min left"


def test_the_exit_status_is_the_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["progress", sys.executable, "-c", "import sys; sys.exit(3)"])
    assert progress.main() == 3
