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


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was probably meant to be; null where none is close."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)), None)


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that suggests the known name closest to `word`, or lists what is known."""
    names = sorted(known)
    close = closest(word, names)
    if close:
        return f"Did you mean `{close}`?"
    return f"Known: {', '.join(names)}." if names else "None is known."
