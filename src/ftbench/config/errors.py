"""The one error that users are meant to read.

Every check on user input raises `FtbenchError`; the command line and the stage adapter print its text
without a traceback. Programming errors stay ordinary exceptions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class FtbenchError(Exception):
    """A problem in the input, told with file, key, what was found, what was expected and what to do."""


def problem(
    *,
    file: str | Path | None = None,
    key: str | None = None,
    found: str,
    expected: str | None = None,
    fix: str | None = None,
) -> str:
    """One problem as one line of text; parts that do not apply are left out."""
    where = ": ".join(part for part in (str(file) if file else "", f"key `{key}`" if key else "") if part)
    text = f"{where}: found {found}" if where else f"found {found}"
    if expected:
        text += f"; expected {expected}"
    if fix:
        text += f". {fix}"
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that suggests the known name closest to `word`, or lists what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Known: {', '.join(names)}." if names else "None is known."
