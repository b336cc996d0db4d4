"""Source changes that a person has declared to alter no result: `ftbench accept`.

The plan then hands a job the fingerprint of the source that its result was made with, so that nothing reruns. The
file lies beside the studies and belongs under version control; what runs later carries the reasons in its record.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path("config/accepted.json")


def entries(file: Path = FILE) -> list[dict[str, Any]]:
    """What was accepted, oldest first: `why`, `at`, and `sources`, new fingerprint to old."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    return list(found)


@cache
def _older(file: Path, _changed: int) -> dict[str, str]:  # read again when its time has changed
    return {new: old for entry in entries(file) for new, old in entry["sources"].items()}


def standing_for(source: str, file: Path = FILE) -> str:
    """The fingerprint that a source stands for: its own, or that of the accepted change's older side."""
    try:
        older = _older(file.absolute(), file.stat().st_mtime_ns)
    except FileNotFoundError:
        return source
    seen = set()
    while source in older and source not in seen:
        seen.add(source)
        source = older[source]
    return source


def reasons(source: str, file: Path = FILE) -> list[str]:
    """Why changes since `source`, the fingerprint that a job was given, were accepted."""
    found, reached = [], {source}
    for entry in entries(file):
        if reached & set(entry["sources"].values()):
            reached |= {new for new, old in entry["sources"].items() if old in reached}
            found.append(f"{entry['at'][:10]}: {entry['why']}")
    return found
