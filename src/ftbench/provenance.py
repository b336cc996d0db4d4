"""Where a number comes from and what it cost: commit, versions, device, memory, times."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ftbench.acceptance import reasons

PACKAGES = (
    "ftbench",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "numpy",
    "snakemake",
)


def now() -> str:
    """The present time in UTC, ISO format."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _git(*arguments: str) -> str | None:
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.strip()
    return None


def versions() -> str:
    """Versions of what takes part in a result, as a JSON object."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return json.dumps(found, sort_keys=True)


def device_name() -> str:
    """The accelerator's name, or the processor's with the number of threads in use."""
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {torch.get_num_threads()} thread(s)"


def provenance(source: str, started_at: str) -> dict[str, Any]:
    """The columns that every run and every soup carries."""
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {
        "code_fingerprint": source,
        "accepted": json.dumps(reasons(source)) if source and reasons(source) else None,
        "git_commit": commit,
        "git_dirty": None if status is None else bool(status),
        "versions": versions(),
        "device": device_name(),
        "started_at": started_at,
        "ended_at": now(),
    }


def anonymous_bytes() -> int | None:
    """Anonymous memory of this process now; None where the system does not tell.

    Resident memory would also count pages of memory-mapped weight files, which the system can drop.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return None


class PeakMemory:
    """Peak memory while the context lasts: the allocator's on a GPU, else sampled anonymous memory."""

    def __init__(self, interval: float = 0.05) -> None:
        self.interval, self.peak = interval, 0
        self._end = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while not self._end.is_set():
            self.peak = max(self.peak, anonymous_bytes() or 0)
            self._end.wait(self.interval)

    def __enter__(self) -> Self:
        import torch

        self.on_gpu = torch.cuda.is_available()
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        import torch

        if self.on_gpu:
            self.peak = int(torch.cuda.max_memory_allocated())
            return
        self._end.set()
        self._sampler.join()
        self.peak = max(self.peak, anonymous_bytes() or 0)

    @property
    def bytes(self) -> int | None:
        """The peak, or None where nothing could be measured."""
        return self.peak or None
