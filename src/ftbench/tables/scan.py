"""What of a study exists in its results folder, and why the rest does not.

The stage `collect` asks it for every record and table of the study's cells. Whatever is absent, unreadable or
foreign becomes a row of the table `missing` instead of an error, so one bad cell never hides the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ftbench.config.errors import FtbenchError
from ftbench.paths import StudyPaths
from ftbench.tables.bulk import Reading
from ftbench.tables.schema import table as table_named
from ftbench.tables.store import read_table
from ftbench.tables.unavailable import Unavailable

NOT_RUN = "not run"
# stages whose cells are artifacts of the matrix, and stages that come after collecting
_KNOWN = {
    "finetune", "soup", "path", "predict", "ensemble", "attack", "transfer", "score", "predict_perturbed",
    "score_perturbed", "embed", "detect", "adapt", "likelihood", "collect", "compare", "report",
}  # fmt: skip


@dataclass
class Scan:
    """Reads the results of one study and remembers what is missing, in the order of asking."""

    places: StudyPaths
    missing: list[dict[str, Any]] = field(default_factory=list)
    outdated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # stage to cell to reason
    unavailable: Mapping[str, Unavailable] = field(default_factory=dict)  # by task or model

    def absent(self, cell: str, stage: str, reason: str) -> str:
        """Note that a cell has no result of a stage; a reason that its job left goes before `reason`, and before «not
        run» what it waits for in vain."""
        reason = self.failure(cell, stage) or reason
        if reason == NOT_RUN:
            reason = next(
                (self.unavailable[name].reason for name in cell.split("/") if name in self.unavailable), reason
            )
        log = self.places.path("log", stage=stage, cell=cell)
        self.note(cell, stage, reason, str(log) if log.is_file() else None)
        return reason

    def note(self, cell: str, stage: str, reason: str, log: str | None) -> None:
        """Add a row to `missing` as it is."""
        self.missing.append({"artifact_id": cell, "stage": stage, "reason": reason, "log": log})

    def failure(self, cell: str, stage: str) -> str | None:
        """The reason that the last job of a cell and stage left behind when it failed."""
        content = json_object(self.places.failure(stage, cell))
        return str(content["reason"]) if content and content.get("reason") else None

    def record(self, file: Path, cell: str, stage: str, identity: Mapping[str, Any]) -> dict[str, Any] | str:
        """The JSON record of a cell, or the reason why there is none.

        A record that says it belongs to another cell (`identity` differs) is refused.
        """
        if not file.is_file():
            return self.absent(cell, stage, NOT_RUN)
        if cell in self.outdated.get(stage, {}):
            return self.absent(cell, stage, self.outdated[stage][cell])
        content = json_object(file)
        if content is None:
            return self.absent(cell, stage, f"{file} holds no JSON object; delete it and run the study again")
        for key, expected in identity.items():
            if content.get(key, expected) != expected:
                reason = f"{file} belongs to another cell: {key} is {content[key]!r} instead of {expected!r}"
                return self.absent(cell, stage, reason)
        return content

    def table(self, name: str, file: Path, cell: str, stage: str) -> pa.Table | None:
        """A table of a cell; null, and a row in `missing`, where it is absent or damaged."""
        if not file.is_file():
            self.absent(cell, stage, NOT_RUN)
            return None
        try:
            return read_table(name, file)
        except FtbenchError as error:
            self.absent(cell, stage, str(error))
            return None

    def scores(self, artifact: str, waits_for: str | None) -> Path | None:
        """The file of an artifact's scores, only if everything that they were made from exists too.

        `waits_for` is the stage that left the artifact without a result, if one did: scores of an older
        artifact may still lie there and must not pass for its own.
        """
        first = "ensemble" if artifact.startswith("ensembles/") else "predict"
        for stage, pattern in ((first, "predictions"), ("score", "metrics")):
            file = self.places.path(pattern, artifact=artifact)
            if waits_for is None and not file.is_file():
                self.absent(artifact, stage, NOT_RUN)
                waits_for = stage
            elif waits_for is not None:
                self.absent(artifact, stage, f"waits for {waits_for}")
        if waits_for is None and artifact in self.outdated.get("score", {}):
            self.absent(artifact, "score", self.outdated["score"][artifact])
            return None
        return None if waits_for else file

    def perturbed(self, artifact: str, scored: bool) -> pa.Table | None:
        """An artifact's scores on perturbed texts; null, and a row in `missing`, where they are absent or older than
        the artifact. One that is not `scored` itself has none either."""
        waits_for = None if scored else "score"
        for stage, pattern in (("predict_perturbed", "perturbed_predictions"), ("score_perturbed", "perturbations")):
            if waits_for is None and self.places.path(pattern, artifact=artifact).is_file():
                continue
            self.absent(artifact, stage, f"waits for {waits_for}" if waits_for else NOT_RUN)
            waits_for = waits_for or stage
        if waits_for is None and artifact in self.outdated.get("score_perturbed", {}):
            self.absent(artifact, "score_perturbed", self.outdated["score_perturbed"][artifact])
            return None
        if waits_for:
            return None
        return self.table(
            "perturbations", self.places.path("perturbations", artifact=artifact), artifact, "score_perturbed"
        )

    def reading(self, name: str, artifacts: Mapping[str, Mapping[str, Any]], threads: Executor) -> Reading:
        """The files of a table that these artifacts have, being read in `threads`; with each artifact the columns that
        are known of it."""
        declared = table_named(name)
        names = next(iter(artifacts.values()), {})
        known = pa.table(
            {key: pa.array([one[key] for one in artifacts.values()], declared.column(key).type) for key in names}
        )
        files = {artifact: self.places.path(name, artifact=artifact) for artifact in artifacts}
        return Reading(name, files, "artifact_id", threads, self.places.read_before(name), known)

    def failures_below(self, cell: str) -> None:
        """Add the failures of the cells that a cell is made of: those whose name begins with its own."""
        for file in sorted((self.places.work / "failures").glob("*.json")):
            content = json_object(file) or {}
            if str(content.get("cell", "")).startswith(cell + "/"):
                self.absent(str(content["cell"]), str(content["stage"]), NOT_RUN)

    def absent_sets(self, task: str) -> dict[str, str]:
        """Evaluation sets of a task that are not available, with the reason, as its audit has them."""
        content = json_object(self.places.path("audit", task=task)) or {}
        return {str(name): str(reason) for name, reason in dict(content.get("absent") or {}).items()}

    def earlier_failures(self, names: set[str]) -> None:
        """Add failures of stages before the cells (data, models) whose own cell is made of `names`."""
        noted = {(row["artifact_id"], row["stage"]) for row in self.missing}
        for file in sorted((self.places.work / "failures").glob("*.json")):
            content = json_object(file) or {}
            cell, stage = str(content.get("cell", "")), str(content.get("stage", ""))
            if not stage or stage in _KNOWN or (cell, stage) in noted or not names & {cell, *cell.split("/")}:
                continue
            self.absent(cell, stage, NOT_RUN)


def json_object(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file; null where there is no such file or no object in it."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
