"""What of this machine, its network and its scheduler a study may stumble over: what `ftbench doctor` finds.

Each finding says what is so and, unless it is fine, what to do. Nothing is changed, and nothing is downloaded. The
cluster's part is in `cluster.py`.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ftbench.plan import Plan
from ftbench.quota import quotas

SECONDS = 5  # of patience with the network and with commands
FEATURES = {"avx2": "float32", "avx512f": "float32", "avx512_bf16": "bf16", "amx_bf16": "bf16"}  # flag to what it helps


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` says what to do about it."""

    subject: str
    level: Literal["good", "note", "problem"]
    text: str
    advice: str = ""


def examine(plan: Plan | None, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Everything that can be looked at on this machine; `plan` is the study to be run, if one is meant."""
    from ftbench.cluster import examine_cluster

    yield from _python()
    yield from _packages(Path("constraints.txt"))
    yield from _processor(Path("/proc/cpuinfo"))
    yield from _gpu()
    yield from _disk(plan)
    yield _file_locks(plan.paths.root if plan else Path())
    yield from _hub(plan, environment)
    yield from examine_cluster(plan)


def _python() -> Iterator[Finding]:
    inside = sys.prefix != sys.base_prefix
    yield Finding("python", "good", f"{platform.python_version()} at {sys.executable}")
    if not inside:
        yield Finding("python", "note", "no virtual environment is active", "make setup; then .venv/bin/ftbench")


def _packages(constraints: Path) -> Iterator[Finding]:
    """Installed versions against the pinned ones."""
    if not constraints.is_file():
        yield Finding("packages", "note", f"found no {constraints} here", "run this in the project's folder")
        return
    differing, absent = [], []
    for line in constraints.read_text().splitlines():
        if pinned := re.match(r"([A-Za-z0-9._-]+)==(\S+)", line):
            try:
                if version(pinned[1]).partition("+")[0] != pinned[2].partition("+")[0]:
                    differing.append(f"{pinned[1]} {version(pinned[1])} instead of {pinned[2]}")
            except PackageNotFoundError:
                absent.append(pinned[1])
    if differing:
        shown = "; ".join(differing[:5]) + (" ..." if len(differing) > 5 else "")
        yield Finding("packages", "note", shown, "results are comparable between equal versions: make setup")
    for name in ("torch", "transformers", "snakemake"):
        if name in absent:
            yield Finding("packages", "problem", f"{name} is not installed", "make setup")
    if not differing and not absent:
        yield Finding("packages", "good", f"the versions of {constraints}")


def _processor(file: Path) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        flags = set(re.findall(r"^flags\s*: (.*)$", file.read_text(), re.M)[0].split())
    except (OSError, IndexError):
        flags = set()
    found = [name for name in FEATURES if name in flags]
    yield Finding("processor", "good", f"{cores} core(s) for this process; {', '.join(found) or 'features not known'}")
    if flags and "bf16" not in {FEATURES[name] for name in found}:
        yield Finding("processor", "note", "no bf16 arithmetic", "keep `precision: auto` or fp32 on this processor")


def _gpu() -> Iterator[Finding]:
    if not shutil.which("nvidia-smi"):
        yield Finding("gpu", "note", "none on this machine", "trainings here use the processor")
        return
    told = _told("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    if told is None:
        yield Finding("gpu", "problem", "nvidia-smi gives no answer", "load the driver, or ask who runs the machine")
        return
    for line in told.splitlines():
        yield Finding("gpu", "good", line)
    import torch

    if not torch.cuda.is_available():
        text = f"torch {torch.__version__} (CUDA {torch.version.cuda}) sees no GPU"
        yield Finding("gpu", "problem", text, "install a torch for this driver, or check CUDA_VISIBLE_DEVICES")


def _disk(plan: Plan | None) -> Iterator[Finding]:
    from ftbench.cost import costs

    place = next(path for path in (Path("results"), Path()) if path.exists())
    free = shutil.disk_usage(place).free / 1e6
    needed = sum(stage.disk_mb for stage in costs(plan)) if plan else 0.0
    text = f"{free / 1e3:.1f} GB free for {place.absolute()}"
    if plan:
        text += f"; {plan.loaded.name} writes about {needed / 1e3:.1f} GB of weights"
    wanted = needed * 1.2 + 500
    if free < wanted:
        yield Finding("disk", "problem", text, "free some space, or link `results` to a larger disk")
    else:
        yield Finding("disk", "good", text)
    for one in quotas(place):
        text = f"{one.of}: {one.used_mb / 1e3:.1f} of {one.limit_mb / 1e3:.1f} GB used on {one.file_system}"
        if one.limit_mb - one.used_mb < wanted:
            text += f"; {plan.loaded.name} writes about {needed / 1e3:.1f} GB of weights" if plan else ""
            yield Finding("quota", "problem", text, "free some space, ask for more, or link `results` to another disk")
        else:
            yield Finding("quota", "good", text)


def _file_locks(folder: Path) -> Finding:
    """Whether two jobs can be kept off one cell here."""
    existing = next(path for path in (folder, *folder.parents, Path()) if path.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=existing) as one, Path(one.name).open() as other:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Finding("file locks", "good", f"work in {existing.absolute()}")
    except OSError as error:
        return Finding("file locks", "problem", f"{existing.absolute()}: {error}", "use a folder that can be written")
    return Finding(
        "file locks", "problem", f"are ignored in {existing.absolute()}",
        "two workflows could write one cell: use another file system, or never start two at a time",
    )  # fmt: skip


def _hub(plan: Plan | None, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether what has to be downloaded can be; a study that needs nothing from the hub is told so."""
    wanted = list(missing_from_hub(plan)) if plan else []
    if plan and not wanted:
        yield Finding("hub", "good", "nothing has to be downloaded for this study")
        return
    home = Path(environment.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    yield Finding("hub", "good" if home.is_dir() else "note", f"cache at {home}" + ("" if home.is_dir() else ", empty"))
    if environment.get("HF_HUB_OFFLINE", "0") not in ("0", ""):
        yield Finding("hub", "note", "HF_HUB_OFFLINE is set: only the cache is read", "unset it to download")
        return
    address = environment.get("HF_ENDPOINT", "https://huggingface.co")
    proxy = environment.get("HTTPS_PROXY") or environment.get("https_proxy")
    target = urlsplit(proxy or address)
    try:
        port = target.port or (443 if target.scheme == "https" else 80)
        socket.create_connection((target.hostname or "", port), SECONDS).close()
    except OSError as error:
        text = f"{address} {'through ' + str(target.hostname) if proxy else ''} cannot be reached ({error})"
        names = f": {', '.join(wanted[:5])}" if wanted else ""
        yield Finding(
            "hub", "problem" if wanted else "note", text,
            f"fetch where the network is (snakemake --until fetch base), or set `data_root`{names}",
        )  # fmt: skip
        return
    yield Finding("hub", "good", f"{address} can be reached")


def missing_from_hub(plan: Plan) -> Iterator[str]:
    """Data sets and models of a study that come from the hub and are not here yet."""
    for name in plan.stages.resolver.datasets():
        job = plan.job("fetch", dataset=name)
        if getattr(job.spec, "hub", None) and not plan.paths.path("fetched", dataset=name).is_file():
            yield name
    for name in plan.study.models:
        if plan.catalogue.model(name).hub and not plan.paths.path("base", model=name).is_file():
            yield name


def _told(*words: str) -> str | None:
    """What a command prints; None where it fails or does not answer."""
    try:
        return subprocess.run(  # noqa: S603
            words, capture_output=True, text=True, timeout=SECONDS, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
