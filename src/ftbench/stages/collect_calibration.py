"""The tables `calibration` and `reliability` of a study, from the files of its artifacts, for the stage `collect`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from ftbench.tables.scan import Scan

NAMES = ("calibration", "reliability")


def calibrations(scored: Sequence[str], scan: Scan) -> dict[str, pa.Table]:
    """Both tables, rows in the order of the artifacts `scored`, whose scores count. An artifact without a valid file
    becomes one row in `missing`, whichever of the two it lacks, and is in neither table."""
    from ftbench.tables.bulk import read_many

    places = {
        artifact: {name: scan.places.path(name, artifact=artifact) for name in NAMES} for artifact in scored
    }  # fmt: skip
    lacking = {
        artifact: f"scored without its {name}, as older versions did; run the study again"
        for artifact, files in places.items()
        for name in reversed(NAMES)
        if not files[name].is_file()
    }
    there = [artifact for artifact in scored if artifact not in lacking]
    found = {}
    for name in NAMES:
        files = {artifact: places[artifact][name] for artifact in there}
        read = read_many(name, files, "artifact_id", scan.places.read_before(name))
        found[name] = read.table
        lacking |= read.refused
    for artifact, reason in lacking.items():
        scan.absent(artifact, "score", reason)
    valid = [artifact for artifact in there if artifact not in lacking]
    return {name: scan.ordered(_of(table, valid), valid) for name, table in found.items()}


def _of(table: pa.Table, artifacts: list[str]) -> pa.Table:
    import pyarrow as pa
    from pyarrow import compute

    return table.filter(compute.is_in(table.column("artifact_id"), value_set=pa.array(artifacts, pa.string())))
