"""Jobs end with the workflow that started them, also where it was killed and could not end them itself.

The workflow announces its process; every job on the same machine watches it and takes its end for SIGTERM, so
that a training writes its checkpoint. Otherwise the next call of the workflow would find cells still held by
jobs that nobody waits for. Jobs of a scheduler belong to the scheduler and are left alone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

VARIABLE = "FTBENCH_DRIVER"  # `<allocation>:<host>:<process>`
SECONDS = 0.5  # between two looks


def place() -> str:
    """The scheduler's allocation, if any, and the machine: only jobs of the same place see the process."""
    return f"{os.environ.get('SLURM_JOB_ID', '')}:{socket.gethostname()}"


def announce() -> None:
    """Make this process the one that jobs started from here watch."""
    os.environ[VARIABLE] = f"{place()}:{os.getpid()}"


def follow() -> None:
    """Send this process SIGTERM once the announced one is gone; nothing where none was announced here."""
    announced, _, number = os.environ.get(VARIABLE, "").rpartition(":")
    if announced != place():
        return
    import psutil

    with suppress(psutil.Error):  # one that cannot be seen from the start runs in another container
        threading.Thread(target=_watch, args=[psutil.Process(int(number))], daemon=True).start()


def _watch(process: psutil.Process) -> None:
    while _runs(process):
        time.sleep(SECONDS)
    print("the workflow that started this job has ended; so does the job", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _runs(process: psutil.Process) -> bool:
    import psutil

    try:  # a dead process stays in the list until its parent asks for it
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
