"""What each job was made from and how long it took: a small record a cell, for people and estimates.

The stage adapter writes it when a job has succeeded; `ftbench why`, `status`, `accept` and `plan --cost` read it.
It is no result and enters none: without it these commands know less.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Made:
    """One job that succeeded; `spec` is the resolved spec, `seconds` the time of the whole job."""

    stage: str
    cell: str
    source: str
    spec: dict[str, Any]
    seconds: float
    ended: str


def file_of(work: Path, stage: str, cell: str) -> Path:
    return work / "made" / f"{stage}--{cell.replace('/', '--')}.json"


def write(work: Path, made: Made) -> None:
    """Replace the record of a cell; a full disk must not fail a job whose result is there."""
    file = file_of(work, made.stage, made.cell)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(asdict(made)))
        os.replace(partial, file)
    except OSError as error:
        print(f"how this result was made could not be noted: {error}", flush=True)


def read(work: Path, stage: str, cell: str) -> Made | None:
    """The record of a cell, or None where there is none to be read."""
    return _read(file_of(work, stage, cell))


def read_all(work: Path) -> Iterator[Made]:
    """Every record of a study."""
    for file in sorted((work / "made").glob("*.json")):
        if (found := _read(file)) is not None:
            yield found


def _read(file: Path) -> Made | None:
    try:
        return Made(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None
