"""Tasks and models that have no data or no weights, because a job before their cells has failed.

The stage `collect` gives the reason to every cell that waits for them, and `ftbench status` shows it. A data set
that the hub refuses and a model that is gone are the usual case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ftbench.config.study import Study
    from ftbench.paths import StudyPaths

FIRST = ("fetch", "prepare", "split", "audit", "base", "upstream", "pretrain_samples")


class Unavailable(NamedTuple):
    """The job that failed, and what this means for the cells behind it."""

    stage: str
    cell: str
    reason: str


def unavailable(places: StudyPaths, study: Study) -> dict[str, Unavailable]:
    """What is missing, by the name of the task or of the model that waits for it."""
    from ftbench.tables.scan import json_object

    found: dict[str, Unavailable] = {}
    for stage in FIRST:
        for file in sorted((places.work / "failures").glob(f"{stage}--*.json")):
            content = json_object(file) or {}
            cell = str(content.get("cell", ""))
            for name in _waiting(study, stage, cell):
                found.setdefault(
                    name, Unavailable(stage, cell, f"not available: {stage} {cell}: {content.get('reason', '')}")
                )
    return found


def _waiting(study: Study, stage: str, cell: str) -> list[str]:
    """Tasks and models that wait for a job of one of the first stages."""
    prior = study.prior
    if stage in ("split", "audit"):
        return [cell] if cell in study.tasks else []
    if stage in ("fetch", "prepare"):
        if prior and cell == prior.dataset:
            return list(study.models)
        return [
            name
            for name, task in study.tasks.items()
            if cell in {task.train.dataset, *(item.dataset for item in task.evaluate.values())}
        ]
    model = cell.rpartition("/")[2]
    return [model] if model in study.models else []
