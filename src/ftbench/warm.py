"""A process that has imported torch, transformers and pandas once and forks for each local job.

Importing them takes seconds, as long as many a small cell trains. The workflow starts this process when it
starts jobs on its own machine; `ftbench.stage` hands its command line over and waits. A job behaves as if it
ran in place: same output, same exit status, signals are passed on, and it dies when its command dies. Jobs of another
machine or allocation run in place. The process itself never touches a GPU: a fork could not use it any more.
"""

from __future__ import annotations

import gc
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "FTBENCH_WARM"  # `<allocation>:<socket>`, or `off`
LIGHT = ("fetch", "prepare", "split", "audit")  # they start faster by themselves than this process imports
READY = "ready"  # the file beside the socket that is there once it has
HEADER = struct.Struct("!i")
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # a process that forks has one thread, pyarrow's allocator none
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # imports that ask for a GPU are answered without starting its driver
}


def _allocation() -> str:
    return os.environ.get("SLURM_JOB_ID", "")


def start() -> None:
    """Start the process for the jobs of this workflow; it ends with the workflow."""
    if os.environ.get(VARIABLE) == "off":
        return
    folder = tempfile.mkdtemp(prefix="ftbench-")  # readable by this user alone
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/socket")
    listener.listen(256)
    subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "ftbench.warm", str(listener.fileno()), str(os.getpid()), folder],
        pass_fds=[listener.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **_ENVIRONMENT},
    )
    listener.close()
    os.environ[VARIABLE] = f"{_allocation()}:{folder}/socket"


def arrive(_: Path) -> None:
    """Start it in a scheduler's allocation, for all cells that share it; not again in the job step of each cell."""
    if _allocation() and "slurm-jobstep" in sys.argv:
        start()


def in_place(arguments: list[str], place: Path) -> bool:
    """Whether a job is none for the warm process with that socket: it needs the network, which that is told to leave
    alone, or would wait for it longer than it takes."""
    if arguments[0] in ("fetch", "base") and json.loads(arguments[arguments.index("--spec") + 1]).get("hub"):
        return True
    return arguments[0] in LIGHT and not place.with_name(READY).exists()


def delegate(arguments: list[str]) -> int | None:
    """Run a stage's command line in a fork of the warm process; None where there is none for this job."""
    allocation, _, place = os.environ.get(VARIABLE, "").partition(":")
    if not place or allocation != _allocation() or in_place(arguments, Path(place)):
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(place)
    except OSError:  # the workflow that started it has ended, or runs elsewhere
        return None
    environment = {key: value for key, value in os.environ.items() if key != VARIABLE}
    request = json.dumps({"arguments": arguments, "folder": str(Path.cwd()), "environment": environment}).encode()
    socket.send_fds(connection, [HEADER.pack(len(request))], [1, 2])
    connection.sendall(request)
    (process,) = HEADER.unpack(_read(connection, HEADER.size))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda got, _: os.kill(process, got))
    (status,) = HEADER.unpack(_read(connection, HEADER.size))
    return int(status)


def _read(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise ConnectionError("the process that runs the job has ended")
        content += part
    return content


def _die_with(connection: socket.socket) -> None:
    """End this process as soon as the command that asked for it is gone."""
    while connection.recv(1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _work(connection: socket.socket, request: dict[str, Any], outputs: list[int]) -> None:
    """In the fork: become the job, and never return."""
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        threading.Thread(target=_die_with, args=[connection], daemon=True).start()
        from ftbench.stage import main as run_stage

        status = run_stage(request["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(listener: socket.socket, parent: int) -> None:
    """Fork for every request until the workflow has ended and the last job with it."""
    jobs: dict[int, socket.socket] = {}
    ended_jobs, told = socket.socketpair()  # a byte arrives whenever a job ends
    told.setblocking(False)  # as Python asks of it
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler the byte is not written
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    while os.getppid() == parent or jobs:
        wanted = [ended_jobs, listener] if os.getppid() == parent else [ended_jobs]
        ready, _, _ = select.select(wanted, [], [], 1.0)
        if ended_jobs in ready:
            ended_jobs.recv(4096)
        if listener in ready:
            connection, _ = listener.accept()
            header, outputs, _, _ = socket.recv_fds(connection, HEADER.size, 2)
            request = json.loads(_read(connection, HEADER.unpack(header)[0]))
            process = os.fork()
            if process == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (listener, ended_jobs, told, *jobs.values()):
                    other.close()
                _work(connection, request, outputs)
            for descriptor in outputs:
                os.close(descriptor)
            jobs[process] = connection
            connection.sendall(HEADER.pack(process))
        for process in list(jobs):
            ended, code = os.waitpid(process, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(code)
                connection = jobs.pop(process)
                with suppress(OSError):  # the command was killed, and its job with it
                    connection.sendall(HEADER.pack(128 - status if status < 0 else status))
                connection.close()


def main() -> None:
    descriptor, parent, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    # what is imported are a million objects that all stay: looking for garbage among them takes as long as importing
    # a part of them, now and in every job, and would copy their pages there
    gc.disable()
    import accelerate  # noqa: F401
    import pandas  # noqa: F401, by pyarrow otherwise, in every job
    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401
    import safetensors.torch  # noqa: F401
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertForMaskedLM  # noqa: F401

    import ftbench.stages.finetune
    import ftbench.tables.store
    import ftbench.training.fit  # noqa: F401

    gc.freeze()
    gc.enable()
    Path(folder, READY).touch()
    try:
        serve(socket.socket(fileno=descriptor), parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
