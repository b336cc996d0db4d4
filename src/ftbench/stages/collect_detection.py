"""The table `detection` of a study, from the files of its artifacts. Stage `collect` calls this."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench import matrix
from ftbench.language_cells import LanguageModel

if TYPE_CHECKING:
    from ftbench.config.study import Study
    from ftbench.tables.scan import Scan


def write_detection(study: Study, scan: Scan, scored: Collection[str], output: Path) -> None:
    """Rows in the order of the study; an artifact without a file, or whose scores do not count (it is not in
    `scored`), becomes a row in `missing`."""
    from ftbench.tables.bulk import read_many
    from ftbench.tables.store import write_table

    files = {}
    for cell in matrix.detected(study):
        file = scan.places.path("detection", artifact=cell.artifact)
        if isinstance(cell, LanguageModel):
            if _whole(cell, scan):
                files[cell.artifact] = file
        elif cell.artifact not in scored:
            scan.absent(cell.artifact, "detect", "waits for score")
        elif not file.is_file():
            scan.absent(cell.artifact, "detect", "not run")
        else:
            files[cell.artifact] = file
    found = read_many("detection", files, "artifact_id", scan.places.read_before("detection"))
    for artifact, reason in found.refused.items():
        scan.absent(artifact, "detect", reason)
    write_table("detection", found.table, output)
    found.keep(output)


def _whole(cell: LanguageModel, scan: Scan) -> bool:
    """Whether everything behind the scores of a language model is there; what is not becomes rows in `missing`."""
    waits_for = None
    for stage, name in (("adapt", "adapted"), ("likelihood", "likelihoods"), ("detect", "detection")):
        place = {"artifact": cell.artifact} if name == "detection" else {"task": cell.task, "model": cell.model}
        if waits_for is None and scan.places.path(name, **place).is_file():
            continue
        scan.absent(cell.artifact, stage, f"waits for {waits_for}" if waits_for else "not run")
        waits_for = waits_for or stage
    return waits_for is None
