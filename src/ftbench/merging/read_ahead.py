"""Reading ingredients ahead: the disk fetches the next tensors while those in hand are summed.

Mapped files are read page by page as they are touched, and several files in turn, which a disk serves slowly. Here
the system is asked for the same bytes in long stretches, a little before they are needed. It changes no result, and
the bytes lie in the page cache, which is nobody's memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from ftbench.merging.source import Source

AHEAD = 16 << 20  # bytes of each file beyond the tensor in hand
_STRETCH = 4 << 20  # bytes asked for at a time, of one file after the other


class ReadAhead:
    """Asks for the tensors that are about to be merged and for what follows them in their files.

    A system without `posix_fadvise` is not asked; it reads as it always does.
    """

    def __init__(self) -> None:
        self._asked: dict[Path, tuple[int, int]] = {}  # by file: first byte asked for, and end
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")

    def at(self, sources: Iterable[Source], name: str) -> None:
        """Say that the tensor `name` of all sources is next. Returns at once."""
        wanted = []
        for source in sources:
            file, begin, end = source.place(name)
            first, last = self._asked.get(file, (begin, begin))
            if not first <= begin <= last:  # another order than the file's, or a new round
                first, last = begin, begin
            if last < end + AHEAD // 2:
                wanted.append((file, last, end + AHEAD))
                last = end + AHEAD
            self._asked[file] = first, last
        if wanted and hasattr(os, "posix_fadvise"):
            self._worker.submit(_ask, wanted)


def _ask(wanted: list[tuple[Path, int, int]]) -> None:
    """Stretches of all files in turn, because sums take the same stretch of every file."""
    with suppress(OSError), ExitStack() as stack:  # whoever reads the file will tell
        opened = [(stack.enter_context(file.open("rb")), begin, end) for file, begin, end in wanted]
        for offset in range(0, max(end - begin for _, begin, end in opened), _STRETCH):
            for handle, begin, end in opened:
                size = min(_STRETCH, end - begin - offset)
                if size > 0:
                    os.posix_fadvise(handle.fileno(), begin + offset, size, os.POSIX_FADV_WILLNEED)
