"""The table `calibration` of a study, from the files of its artifacts, for the stage `collect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftbench.tables.scan import Scan


def write_calibration(scored: Sequence[str], scan: Scan, output: Path) -> None:
    """Rows in the order of the artifacts `scored`, whose scores count.

    An artifact without a valid file becomes a row in `missing` and has none here.
    """
    from ftbench.tables.bulk import read_many
    from ftbench.tables.store import write_table

    files = {artifact: scan.places.path("calibration", artifact=artifact) for artifact in scored}
    there = {artifact: file for artifact, file in files.items() if file.is_file()}
    found = read_many("calibration", there, "artifact_id", scan.places.read_before("calibration"))
    for artifact in scored:
        if artifact not in there:
            scan.absent(artifact, "score", "scored without its calibration, as older versions did; run the study again")
        elif artifact in found.refused:
            scan.absent(artifact, "score", found.refused[artifact])
    write_table("calibration", scan.ordered(found.table, list(there)), output)
    found.keep(output)
