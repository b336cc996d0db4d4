"""The small study run once for all tests and workers; each test gets a copy of the finished folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from project import Project, copied


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished study; shared by all workers, so tests only read it. Its output is in `run.txt` beside it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    project, told = Project(shared / "finished"), shared / "run.txt"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            done = copied(project.folder).snakemake(check=False)
            told.write_text(f"{done.returncode}\n{done.stdout}\n{done.stderr}")
    text = told.read_text()
    if not text.startswith("0\n"):
        pytest.fail(f"the small study did not run to its end:\n{text[-5000:]}", pytrace=False)
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished study to change."""
    return finished.copy(tmp_path / "project")
