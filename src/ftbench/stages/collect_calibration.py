"""The table `calibration` of a study, from the files of its artifacts, for the stage `collect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftbench.tables.bulk import Bulk
    from ftbench.tables.scan import Scan


def write_calibration(found: Bulk, scored: Sequence[str], scan: Scan, output: Path) -> None:
    """`found` is what was read for the artifacts `scored`, whose scores count.

    An artifact without a valid file becomes a row in `missing` and has none here.
    """
    from ftbench.tables.store import write_table

    for artifact in scored:
        if artifact in found.absent:
            scan.absent(artifact, "score", "scored without its calibration, as older versions did; run the study again")
        elif artifact in found.refused:
            scan.absent(artifact, "score", found.refused[artifact])
    write_table("calibration", found.table, output)
    found.keep(output)
