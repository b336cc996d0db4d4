"""The loopback SLURM for the tests of this folder: started once for a module, one at a time on this machine."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.loopback import Loopback, reason_against
from cluster.submitting import Submitting
from project import Project


@pytest.fixture(scope="module")
def slurm() -> Iterator[Loopback]:
    with Path("/tmp/ftbench-slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers' tests wait: two clusters at a time would only be slower
        if reason := reason_against():
            pytest.skip(reason)
        with Loopback() as cluster:
            yield cluster


@pytest.fixture
def fresh(project: Project, slurm: Loopback) -> Submitting:
    """The small study, finished, in a folder of its own; its workflow submits to the cluster."""
    return Submitting(project.folder, slurm)
