"""Trying again what the hub refused for the moment, and saying what it refused for good.

Stages `fetch` and `base` wrap their downloads in it. The hub's library repeats single requests and goes on with
half-loaded files by itself; this repeats the whole call, for outages that last longer than its patience.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

VARIABLE = "FTBENCH_RETRY_SECONDS"  # pause before the second try; each further one is three times as long
TRIES = 4
LONGEST = 600.0  # seconds that a server's Retry-After may ask for
PASSING = (408, 425, 429, 500, 502, 503, 504)
WORDS = {
    401: "It asks for a login: `hf auth login`, or the variable HF_TOKEN",
    403: "It is gated: ask for access on its page, then `hf auth login`",
    404: "It is not there: renamed, removed, or private and without login",
    410: "It was removed",
    429: "The hub gets too many requests from here: wait, or log in for a higher limit",
}
Result = TypeVar("Result")


def patiently(load: Callable[[], Result], say: Callable[[str], None] = print) -> Result:
    """What `load` gives, at the first try that succeeds; errors that would come again are raised at once."""
    pause = float(os.environ.get(VARIABLE, "5"))
    for attempt in range(1, TRIES + 1):
        try:
            return load()
        except Exception as error:
            if attempt == TRIES or not passes(error):
                raise
            wait = min(LONGEST, max(pause, retry_after(error)))
            say(f"try {attempt} of {TRIES} failed ({_short(error)}); again in {wait:.0f} s")
            time.sleep(wait)
            pause *= 3
    raise AssertionError("unreachable")


def passes(error: BaseException) -> bool:
    """Whether an error may be gone at the next try."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", ""):
        return False
    if (status := status_of(error)) is not None:
        return status in PASSING
    names = {kind.__name__ for one in chain(error) for kind in type(one).__mro__}
    for_good = {"OfflineModeIsEnabled", "RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError",
                "DatasetNotFoundError", "DataFilesNotFoundError"}  # fmt: skip
    local = {"LocalEntryNotFoundError", "IncompleteSnapshotError"}  # says only that the network failed
    if names & for_good and not names & local:
        return False
    network = {
        "TransportError",
        "ConnectionError",
        "Timeout",
        "TimeoutError",
        "TimeoutException",
        "ChunkedEncodingError",
    }
    return bool(names & network) or "Consistency check failed" in str(error)


def words(error: BaseException) -> str:
    """What the hub's answer means and what to do, where it is known; else nothing."""
    if "GatedRepoError" in {type(one).__name__ for one in chain(error)} or "gated dataset" in str(error):
        return WORDS[403]
    return WORDS.get(status_of(error) or 0, "")


def status_of(error: BaseException) -> int | None:
    """The status of the hub's answer that an error comes from, or None where there was no answer."""
    for one in chain(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def retry_after(error: BaseException) -> float:
    """Seconds that the server asks to wait; 0 where it does not say."""
    for one in chain(error):
        headers = getattr(getattr(one, "response", None), "headers", None) or {}
        value = str(headers.get("Retry-After", ""))
        if value.isdigit():
            return float(value)
    return 0.0


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _short(error: BaseException) -> str:
    status = status_of(error)
    return f"status {status}" if status else f"{type(error).__name__}: {str(error)[:150]}"


def whole(file: Path) -> bool:
    """Whether a file of the hub's cache is what its name says: the sha256 of its content, or git's sha1 of it."""
    name = file.resolve().name
    if len(name) == 64:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest() == name
    if len(name) == 40:
        content = file.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == name
    return True  # not a file of the cache
