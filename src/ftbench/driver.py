"""What jobs and the next workflow must know of a workflow's process, also where it was killed.

The workflow announces its process; every job on the same machine watches it and takes its end for SIGTERM, so
that a training writes its checkpoint. Jobs of a scheduler belong to the scheduler and are left alone: the next
workflow's jobs wait for them. It also keeps a sign of life, by which the next one sees that it was killed and
that its lock on the folder means nothing any more.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

VARIABLE = "FTBENCH_DRIVER"  # `<allocation>:<host>:<process>`
SECONDS = 0.5  # between two looks
SIGNS = Path(".snakemake/workflows")  # one file for each workflow, held with a lock while it lives
LOCKS = Path(".snakemake/locks")  # Snakemake's own
_held: list[IO[str]] = []


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


def end_with_parent() -> None:
    """End this process at once, without a checkpoint, when the one that started it is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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


def scheduled() -> bool:
    """Whether this job was started by a workflow that runs elsewhere, through a scheduler."""
    announced = os.environ.get(VARIABLE, "").rpartition(":")[0]
    return bool(announced) and announced != place()


def arrive(work: Path) -> None:
    """Take away the lock that a killed workflow left on the folder, where that is safe, and say what was found.

    It is safe if every workflow that ever left its sign here has ended, and did so on this machine: the signs
    are held with file locks, which end with their process. `work` is the study's folder of cells' locks.
    """
    SIGNS.mkdir(parents=True, exist_ok=True)
    ended, doubtful = [], False
    for file in sorted(SIGNS.glob("*.json")):
        owner = _ended(file)
        doubtful |= owner is None or owner.get("host") != socket.gethostname()
        if owner is not None and owner.get("host") == socket.gethostname():
            ended.append((file, owner))
    left = list(LOCKS.glob("*")) if LOCKS.is_dir() else []
    if ended and left and not doubtful:
        for file in left:
            file.unlink(missing_ok=True)
        _say(f"the workflow that ran here before (process {ended[-1][1].get('process')}) was killed; its lock is gone")
        still = working(work)
        if still:
            shown = ", ".join(still[:3]) + (f" and {len(still) - 3} more" if len(still) > 3 else "")
            _say(f"jobs of it still run: {shown}; theirs will be waited for, and what they finish is taken over")
    if not doubtful:
        for file, _ in ended:
            file.unlink(missing_ok=True)
    mine = SIGNS / f"{socket.gethostname()}-{os.getpid()}.json"
    partial = mine.with_suffix(".partial")
    handle = partial.open("w")
    json.dump({"host": socket.gethostname(), "process": os.getpid()}, handle)
    handle.flush()
    with suppress(OSError):  # without file locks here, no sign is left and nothing is ever taken away by itself
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.replace(partial, mine)  # seen only when it is held
    _held.append(handle)
    atexit.register(mine.unlink, missing_ok=True)


def _ended(file: Path) -> dict[str, object] | None:
    """Who left a sign, if its process has ended; None while it lives or where that cannot be told."""
    try:
        with file.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            content = json.load(handle)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def alive() -> bool:
    """Whether a workflow runs in this folder now, as far as its sign tells."""
    return any(_ended(file) is None for file in SIGNS.glob("*.json"))


def working(work: Path) -> list[str]:
    """Cells of a study that a job holds now, as `stage cell`."""
    held = []
    for file in sorted((work / "locks").glob("*")):
        try:
            with file.open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            stage, _, cell = file.name.partition("--")
            held.append(f"{stage} {cell.replace('--', '/')}")
        except OSError:
            continue
    return held


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
