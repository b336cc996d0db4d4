"""The small study run once for all tests and workers; each test gets a copy of the finished folder."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

if not os.environ.get("FTBENCH_TEST_GPU"):  # of these tests most expect the processor's numbers and its messages
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
from project import Project, copied
from results_folder import Folder, small_study


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


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder with every record, prediction and score of a small study; tests only read it."""
    folder = Folder(tmp_path_factory.mktemp("complete"), small_study())
    folder.fill()
    return folder


@pytest.fixture
def folder(filled: Folder, tmp_path: Path) -> Folder:
    """A copy of the complete folder, to make gaps in."""
    shutil.copytree(filled.root / "results", tmp_path / "results")
    return Folder(tmp_path, filled.study)


@pytest.fixture(scope="session")
def tabled(filled: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The complete folder with its tables and its report; tests only read it."""
    root = tmp_path_factory.mktemp("tabled")
    shutil.copytree(filled.root / "results", root / "results")
    folder = Folder(root, filled.study)
    folder.finish()
    return folder


@pytest.fixture
def project_with_tables(tabled: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A copy of it as a project that commands can be called in."""
    shutil.copytree(tabled.root / "results", tmp_path / "results")
    studies = tmp_path / "config" / "studies"
    studies.mkdir(parents=True)
    (studies / "demo.yaml").write_text(tabled.study.canonical())
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path, tabled.study)
