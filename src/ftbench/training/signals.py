"""The signals by which schedulers announce the end of a job, collected so that a checkpoint comes first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_to_stop() -> Iterator[list[int]]:
    """A list that fills with SIGTERM and SIGUSR1 while the context lasts; empty in threads, which get none."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {
        number: signal.signal(number, lambda got, _: received.append(got))
        for number in (signal.SIGTERM, signal.SIGUSR1)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
