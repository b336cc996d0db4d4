"""What a stage gets to write to: places beside the final ones, and a folder for resume checkpoints.

Stages take an `Outputs` and never rename anything themselves; the adapter commits or discards.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ftbench.config.errors import FtbenchError


class Stopped(Exception):  # noqa: N818, it reports no error
    """Raised by a stage that wrote its checkpoint because it was told to stop."""


@dataclass(frozen=True)
class Outputs(Mapping[str, Path]):
    """Where a stage writes: `outputs[name]` is a place beside the final one.

    `work` is a folder for resume checkpoints that belongs to this spec and this source alone.
    """

    final: dict[str, Path]
    work: Path
    source: str = ""

    def __getitem__(self, name: str) -> Path:
        final = self.final[name]
        return final.with_name(f".{name}.partial.{final.name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.final)

    def __len__(self) -> int:
        return len(self.final)

    def commit(self) -> None:
        """Move everything to its final name, in the order given: the record comes last."""
        for name, final in self.final.items():
            partial = self[name]
            if not partial.exists():
                raise FtbenchError(f"the stage did not write its output `{name}` ({final})")
        # an old record must not vouch for new files, should this end half-way
        record = list(self.final.values())[-1]
        if not record.is_dir():
            record.unlink(missing_ok=True)
        for name, final in self.final.items():
            partial = self[name]
            if partial.is_dir():
                shutil.rmtree(final, ignore_errors=True)
            else:
                with partial.open("rb") as handle:
                    os.fsync(handle.fileno())
            os.replace(partial, final)
        shutil.rmtree(self.work, ignore_errors=True)

    def discard(self) -> None:
        """Remove what a failed stage began to write; resume checkpoints stay."""
        for name in self.final:
            partial = self[name]
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)
