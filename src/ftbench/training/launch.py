"""Run a stage in several processes, on this machine or on all of a SLURM allocation, and end them together.

The stage's process only watches: the first of the processes writes the stage's outputs, the others write to a
folder that is thrown away. Called by the stages that train, and on each of several machines by `ftbench.machine`.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.outputs import Outputs, Stopped
from ftbench.training.signals import told_to_stop

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKER, MACHINE = "ftbench.worker", "ftbench.machine"
STOPPED = 75  # exit status of a process that wrote a checkpoint because it was told to stop
PATIENCE = 300  # seconds that machines may end after the first one
# what of SLURM's variables a step inside a step must not inherit: the shape of the outer one
KEPT = ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTER_NAME", "SLURM_CONF", "SLURM_CONF_SERVER")


@dataclass(frozen=True)
class Meeting:
    """Where `count` processes meet, on which machines, and what they run."""

    count: int
    address: str
    port: int
    machines: list[str]  # the first one has the first process
    job: dict[str, Any]


def run_together(count: int, stage: str, spec: str, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    """Run `stage` in `count` processes; an allocation of several machines is shared evenly.

    A signal is passed on, so that they write a checkpoint; then this raises `Stopped`. When one of them fails,
    the others are ended, and an `FtbenchError` holds the end of what it printed.
    """
    job = {
        "stage": stage,
        "spec": spec,
        "inputs": {name: str(path) for name, path in inputs.items()},
        "outputs": {name: str(path) for name, path in outputs.final.items()},
        "work": str(outputs.work),
        "source": outputs.source,
    }
    machines = allocated()
    if len(machines) == 1 or count % len(machines):
        run_here(Meeting(count, "127.0.0.1", _free_port("127.0.0.1"), machines[:1], job), 0)
    else:
        _run_on_all(Meeting(count, socket.gethostname(), _free_port(""), machines, job))


def allocated() -> list[str]:
    """SLURM's names of the machines of this job, this one first; one where there is no such job.

    A step's own variables tell the machines of the step, which may be fewer.
    """
    here, job = os.environ.get("SLURMD_NODENAME", ""), os.environ.get("SLURM_JOB_ID", "")
    if not here or not job:
        return [here or socket.gethostname()]
    names = _told("scontrol", "show", "hostnames", _told("squeue", "--noheader", "--jobs", job, "--format", "%N"))
    return [here, *(name for name in names.split() if name != here)]


def _told(*words: str) -> str:
    """What a command of SLURM prints; the error that it ends with is the job's."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", "") or str(error)
        raise FtbenchError(f"SLURM does not tell the machines of this job: {told.strip()}") from error
    return done.stdout.strip()


def _free_port(address: str) -> int:
    with socket.socket() as free:
        free.bind((address, 0))
        return int(free.getsockname()[1])


def _run_on_all(meeting: Meeting) -> None:
    """One step of the allocation with a task on each machine, which starts that machine's processes."""
    machines = len(meeting.machines)
    print(f"{meeting.count} processes on {', '.join(meeting.machines)}", flush=True)
    command = ["srun", "--overlap", f"--nodes={machines}", f"--ntasks={machines}", "--ntasks-per-node=1"]
    command += [
        "--cpu-bind=none",
        "--mem=0",
        "--kill-on-bad-exit=0",
        f"--wait={PATIENCE}",
        sys.executable,
        "-m",
        MACHINE,
    ]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SRUN_")) or key in KEPT}
    with told_to_stop() as signals:
        process = subprocess.Popen(command, env=own, text=True, stdin=subprocess.PIPE)  # noqa: S603
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(meeting)))
            process.stdin.close()
            passed_on = False
            while process.poll() is None:
                if signals and not passed_on:
                    passed_on = True
                    process.send_signal(signal.SIGTERM)
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    if process.returncode == STOPPED:
        raise Stopped("a checkpoint was written; run again to go on")
    if process.returncode:
        raise FtbenchError(
            f"the processes on {', '.join(meeting.machines)} ended with {process.returncode}; their output is above"
        )


def run_here(meeting: Meeting, machine: int) -> None:
    """Start the processes of one machine (its number among all) and wait for their end."""
    share = meeting.count // len(meeting.machines)
    ranks = range(machine * share, (machine + 1) * share)
    threads = max(1, int(os.environ.get("OMP_NUM_THREADS", "1")) // share)
    common = {"MASTER_ADDR": meeting.address, "MASTER_PORT": str(meeting.port), "WORLD_SIZE": str(meeting.count),
              "OMP_NUM_THREADS": str(threads)}  # fmt: skip
    started: list[subprocess.Popen[str]] = []
    with told_to_stop() as signals, tempfile.TemporaryDirectory(prefix="ftbench-ranks-") as folder:
        logs = [Path(folder) / f"process-{rank}.log" for rank in ranks]
        try:
            for rank, log in zip(ranks, logs, strict=True):
                own = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank - ranks.start)}
                with log.open("w") as told:
                    process = subprocess.Popen(  # noqa: S603, a fixed command
                        [sys.executable, "-m", WORKER], env=own, text=True, stdin=subprocess.PIPE,
                        stdout=None if rank == 0 else told, stderr=None if rank == 0 else subprocess.STDOUT,
                    )  # fmt: skip
                started.append(process)
                assert process.stdin is not None
                process.stdin.write(json.dumps(meeting.job))
                process.stdin.close()
            _watch(started, ranks, meeting.count, logs, signals)
        finally:
            for process in started:
                process.kill()
                process.wait()


def _watch(
    started: list[subprocess.Popen[str]], ranks: range, count: int, logs: list[Path], signals: list[int]
) -> None:
    """Until all have ended well; raises at the first that has not."""
    passed_on = False
    while True:
        if signals and not passed_on:
            passed_on = True
            for process in started:
                process.send_signal(signal.SIGTERM)
        states = [process.poll() for process in started]
        failed = [place for place, state in enumerate(states) if state not in (None, 0, STOPPED)]
        if failed:
            place = failed[-1]  # the first process mostly fails because another one is gone
            text = logs[place].read_text()[-4000:].strip() if ranks[place] else "its output is above"
            raise FtbenchError(f"process {ranks[place]} of {count} ended with {states[place]}: {text}")
        if None not in states:
            break
        time.sleep(0.1)
    if STOPPED in states:
        raise Stopped("a checkpoint was written; run again to go on")
