"""Quotas that bound what a study may write: of the user, the group or the project, where the file system's tools tell.

Looked at are `quota` for ordinary file systems and NFS, and `lfs` for Lustre. A project quota of XFS or ext4 needs
no look: free space of its folder is what is left of it.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/mounts")
SECONDS = 5  # of patience with a command
Told = Callable[..., str | None]


@dataclass(frozen=True)
class Quota:
    """One limit. Sizes are in MB; `limit_mb` is the lower one of the soft and the hard limit, as a study takes long."""

    of: str
    file_system: str
    used_mb: float
    limit_mb: float


def told(*words: str) -> str | None:
    """What a command prints; None where it is not there, fails with nothing said, or does not answer."""
    if not shutil.which(words[0]):
        return None
    try:
        done = subprocess.run(  # noqa: S603
            words, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None  # `quota` ends with 1 where a limit is exceeded, and prints it all the same


def quotas(place: Path, tell: Told = told, mounts: Path = MOUNTS) -> Iterator[Quota]:
    """Limits that hold for files in `place`, an existing folder; nothing where there are none or no tool tells."""
    device, folder, kind = mounted(place.resolve(), mounts)
    if kind == "lustre":
        yield from _lustre(place, tell)
        return
    for of, option in (("user", "-u"), ("group", "-g")):
        for system, used, limit in table(tell("quota", "-w", "-p", option) or ""):
            if _same(system, device) or system == folder:
                yield Quota(of, system, used, limit)


def table(text: str) -> Iterator[tuple[str, float, float]]:
    """File system, MB used and limit in MB of each line that `quota` or `lfs quota` prints and that has a limit.

    Both print blocks of 1024 bytes as `FILE-SYSTEM BLOCKS QUOTA LIMIT ...`, with `*` behind blocks that exceed a limit
    and `lfs` brackets around what it could not ask all servers about; a long name may stand on a line of its own.
    """
    number = r"\[?(\d+)\]?\*?"
    for name, *sizes in re.findall(rf"^\s*(\S*/\S*)\s+{number}\s+{number}\s+{number}(?=\s|$)", text, re.M):
        used, *limits = (int(size) * 1024 / 1e6 for size in sizes)
        if bounds := [limit for limit in limits if limit]:
            yield name, used, min(bounds)


def mounted(place: Path, mounts: Path = MOUNTS) -> tuple[str, str, str]:
    """Device, mount point and kind of the file system that holds `place`; empty where the system does not say."""
    found = ("", "", "")
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        device, folder, kind = (part.replace("\\040", " ") for part in line.split(" ")[:3])
        if place.is_relative_to(folder) and len(folder) >= len(found[1]):
            found = (device, folder, kind)
    return found


def _same(system: str, device: str) -> bool:
    # a server's folder may be mounted below the one that the quota is of
    return bool(device) and (system == device or (":" in system and device.startswith(system.rstrip("/") + "/")))


def _lustre(place: Path, tell: Told) -> Iterator[Quota]:
    asked = [("user", "-u", getpass.getuser()), ("group", "-g", str(os.getgid()))]
    if project := re.match(r"\s*(\d+)\s", tell("lfs", "project", "-d", str(place)) or ""):
        asked += [("project", "-p", project[1])] if project[1] != "0" else []
    for of, option, name in asked:
        for system, used, limit in table(tell("lfs", "quota", option, name, str(place)) or ""):
            yield Quota(of, system, used, limit)
            break  # the line of the whole file system comes first, those of its servers follow
