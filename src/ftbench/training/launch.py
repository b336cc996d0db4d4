"""Run a stage in several processes on this machine, and end them together.

This process only watches: the first of the processes writes the stage's outputs, the others write to a folder
that is thrown away. Called by the stages that train.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.outputs import Outputs, Stopped
from ftbench.training.signals import told_to_stop

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKER = "ftbench.worker"
STOPPED = 75  # exit status of a process that wrote a checkpoint because it was told to stop


def run_together(count: int, stage: str, spec: str, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    """Run `stage` in `count` processes that meet on a free port of the loopback interface.

    A signal is passed on, so that they write a checkpoint; then this raises `Stopped`. When one of them fails,
    the others are ended, and an `FtbenchError` holds the end of what it printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {
        "stage": stage,
        "spec": spec,
        "inputs": {name: str(path) for name, path in inputs.items()},
        "outputs": {name: str(path) for name, path in outputs.final.items()},
        "work": str(outputs.work),
        "source": outputs.source,
    }
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    started: list[subprocess.Popen[str]] = []
    with told_to_stop() as signals, tempfile.TemporaryDirectory(prefix="ftbench-ranks-") as folder:
        logs = [Path(folder) / f"process-{rank}.log" for rank in range(count)]
        try:
            for rank in range(count):
                own = {**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                with logs[rank].open("w") as told:
                    process = subprocess.Popen(  # noqa: S603, a fixed command
                        [sys.executable, "-m", WORKER], env=own, text=True, stdin=subprocess.PIPE,
                        stdout=None if rank == 0 else told, stderr=None if rank == 0 else subprocess.STDOUT,
                    )  # fmt: skip
                started.append(process)
                assert process.stdin is not None
                process.stdin.write(json.dumps(job))
                process.stdin.close()
            _watch(started, logs, signals)
        finally:
            for process in started:
                process.kill()
                process.wait()


def _watch(started: list[subprocess.Popen[str]], logs: list[Path], signals: list[int]) -> None:
    """Until all have ended well; raises at the first that has not."""
    passed_on = False
    while True:
        if signals and not passed_on:
            passed_on = True
            for process in started:
                process.send_signal(signal.SIGTERM)
        states = [process.poll() for process in started]
        failed = [rank for rank, state in enumerate(states) if state not in (None, 0, STOPPED)]
        if failed:
            rank = failed[-1]  # the first process mostly fails because another one is gone
            text = logs[rank].read_text()[-4000:].strip() if rank else "its output is above"
            raise FtbenchError(f"process {rank} of {len(started)} ended with {states[rank]}: {text}")
        if None not in states:
            break
        time.sleep(0.1)
    if STOPPED in states:
        raise Stopped("a checkpoint was written; run again to go on")
