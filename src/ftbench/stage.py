"""The adapter between a stage (a plain function) and a command line.

Rules call `python -m ftbench.stage NAME ...`; the same line can be pasted from a log. The adapter checks the
spec, takes a lock on the cell, lets the stage write beside its outputs, and renames when all is written, the
completing record last. What a stage computes is none of its business.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import importlib
import importlib.util
import json
import os
import pkgutil
import shlex
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ftbench import finished, made, provenance
from ftbench.config.errors import FtbenchError, nearest
from ftbench.driver import follow, scheduled
from ftbench.outputs import Outputs, Stopped
from ftbench.warm import delegate

WAITING = 1.0  # seconds between two tries for the lock of a cell
LOOKS = 4  # quick tries before that: one who asks whether a cell is held, holds it for a moment
STOPPED = 75  # exit status after a signal: a checkpoint was written, run again to go on


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _taken(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(file: Path, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a cell; a second holder waits, or is refused with the name of the first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        tries = 0
        while not _taken(handle):
            tries += 1
            handle.seek(0)
            holder = f"another job works on this cell: {handle.read().strip() or 'unknown'} (lock {file})"
            if tries == LOOKS and not wait:
                raise FtbenchError(f"{holder}. Wait until it has ended, or stop it, and run again.")
            if tries == LOOKS:
                print(f"{holder}; waiting for it", flush=True)
            time.sleep(WAITING if tries > LOOKS else 0.05)
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}")
        handle.flush()
        yield


def execute(
    name: str,
    spec: Mapping[str, Any],
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    work: Path,
    source: str,
    keep: bool = False,
) -> bool:
    """Run one stage with atomic outputs. Raises what the stage raises; nothing half-written stays.

    With `keep`, the result is also kept for the same job, should the workflow lose it, and taken over from there;
    the answer says whether it was computed.
    """
    from ftbench.config.strict import validated  # not needed where the warm process runs the job

    if importlib.util.find_spec(f"ftbench.stages.{name}") is None:
        known = [item.name for item in pkgutil.iter_modules(importlib.import_module("ftbench.stages").__path__)]
        raise FtbenchError(f"unknown stage `{name}`. {nearest(name, known)}")
    module = importlib.import_module(f"ftbench.stages.{name}")
    resolved = validated(module.Spec, spec, f"spec of stage {name}")
    place = Outputs(dict(outputs), work / digest(name, resolved.canonical(), source), source)
    for final in place.final.values():
        final.parent.mkdir(parents=True, exist_ok=True)
    place.discard()
    try:
        taken = keep and finished.take_over(place, inputs, work)
        if taken:
            print("done before with these settings, source and inputs: that result is taken", flush=True)
        else:
            module.run(resolved, inputs, place)
        place.commit()
        if keep:
            finished.keep(place, inputs, work)
    except BaseException as error:
        gone = [final.parent for final in place.final.values() if not final.parent.is_dir()]
        place.discard()
        # safetensors raises an error of its own around the system's
        if gone and (isinstance(error, FileNotFoundError) or "No such file or directory" in str(error)):
            raise FtbenchError(f"the folder {gone[0]} was removed while this job ran; run again") from error
        raise
    return not taken


def _pairs(values: list[str]) -> dict[str, Path]:
    pairs: dict[str, Path] = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not separator:
            raise FtbenchError(f"found `{value}` among inputs or outputs; expected `name=path`")
        pairs[name] = Path(path)
    return pairs


def _reason(error: BaseException) -> str:
    if isinstance(error, FtbenchError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "stopped by a signal before it was done. Nothing half-written was kept; run again."
    # safetensors raises an error of its own around the system's
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        return f"no space left on the device ({error}). Nothing half-written was kept; free some space and run again."
    return f"{type(error).__name__}: {error}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ftbench.stage", description="Run one stage of the graph.")
    parser.add_argument("stage")
    parser.add_argument("--cell", required=True, help="id of the cell, for the lock and the failure record")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints, locks and failures")
    parser.add_argument("--spec", required=True, help="the resolved spec as JSON")
    parser.add_argument("--source", default="", help="source fingerprint, recorded with the result")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inputs", nargs="*", default=[])
    parser.add_argument("--outputs", nargs="+", required=True)
    options = parser.parse_args(arguments)

    print(
        "+ python -m ftbench.stage",
        shlex.join(arguments if arguments is not None else sys.argv[1:]),
        flush=True,
    )
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[variable] = str(options.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if "torch" in sys.modules:  # a fork of the warm process: the variables were read before it
        import pyarrow

        sys.modules["torch"].set_num_threads(options.threads)
        pyarrow.set_cpu_count(options.threads)
    if options.stage not in ("fetch", "base"):  # the only stages that may touch the network
        os.environ["HF_HUB_OFFLINE"] = "1"
    # a scheduler's warning ends a stage like an interrupt unless the training loop asks to write first
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler)
    follow()

    name = f"{options.stage}--{options.cell.replace('/', '--')}"
    failure = options.work / "failures" / f"{name}.json"
    try:
        keep = scheduled()
        with locked(options.work / "locks" / name, wait=keep):
            clock = time.perf_counter()
            spec = json.loads(options.spec)
            computed = execute(
                options.stage,
                spec,
                _pairs(options.inputs),
                _pairs(options.outputs),
                options.work,
                options.source,
                keep,
            )
            if computed:
                seconds = time.perf_counter() - clock
                made.write(
                    options.work,
                    made.Made(options.stage, options.cell, options.source, spec, seconds, provenance.now()),
                )
    except Stopped as stop:
        print(f"stopped: {stop}", flush=True)
        return STOPPED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # recorded and told, then the process fails
        if not isinstance(error, FtbenchError):
            traceback.print_exc()
        print(f"error: {_reason(error)}", flush=True)
        _record(failure, options.stage, options.cell, _reason(error))
        return 1
    failure.unlink(missing_ok=True)
    return 0


def _record(file: Path, stage: str, cell: str, reason: str) -> None:
    content = {
        "stage": stage,
        "cell": cell,
        "reason": reason,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1))
    except OSError as error:  # a full disk must not hide the first error, which is printed already
        print(f"the failure could not be recorded: {error}", flush=True)


def run_command() -> int:
    """Run in the warm process where the workflow keeps one, else in place."""
    status = delegate(sys.argv[1:])
    return main(sys.argv[1:]) if status is None else status


if __name__ == "__main__":
    sys.exit(run_command())
