"""Where every cell of a study stands, from files alone: no scheduler is asked, so it works anywhere the files are.

A cell is the chain of jobs behind one artifact (train or average, predict, score, and what the study asks of it beyond
that: perturbed texts, attacks, rows from outside). `ftbench status` prints it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench import driver, made, matrix
from ftbench.cost import Past
from ftbench.data_jobs import PlannedJob
from ftbench.language_cells import LanguageModel, language_models
from ftbench.partial import OLDER_SETTINGS, outdated
from ftbench.plan import Plan

if TYPE_CHECKING:
    from rich.table import Table

STATES = ("done", "failed", "stale", "running", "queued", "to do")


@dataclass(frozen=True)
class Cell:
    """One artifact: its state, the stage it stands at, and the expected seconds of what is left to do."""

    artifact: str
    row: str  # method or soup
    task: str
    state: str
    stage: str
    seconds_left: float
    reason: str = ""
    failed: str = ""  # the job's cell: the artifact, or the data set or model that it waits for in vain


Link = tuple[str, dict[str, str], list[Path]]


def chain(plan: Plan, artifact: str) -> list[Link]:
    """Stages of a cell in order: name, wildcards, and the files that the stage makes."""
    cell = plan.stages.artifacts.get(artifact)
    stages: list[Link] = []
    if cell is None:
        return _beyond(plan)[artifact]
    if isinstance(cell, matrix.Run):
        place = {name: str(value) for name, value in cell.__dict__.items()}
        stages.append(("finetune", place, [plan.paths.path("run", **place), plan.paths.path("run_model", **place)]))
    elif isinstance(cell, matrix.SoupCell):
        place = {"task": cell.task, "model": cell.model, "soup": cell.name}
        stages.append(("soup", place, [plan.paths.path("recipe", **place), plan.paths.path("soup_model", **place)]))
    for stage, name in (("predict", "predictions"), ("score", "metrics")):
        stages.append((stage, {"artifact": artifact}, [plan.paths.path(name, artifact=artifact)]))
    if plan.study.perturbations and isinstance(cell, matrix.Run | matrix.SoupCell):
        for stage, name in (("predict_perturbed", "perturbed_predictions"), ("score_perturbed", "perturbations")):
            stages.append((stage, {"artifact": artifact}, [plan.paths.path(name, artifact=artifact)]))
    return [*stages, *_beyond(plan).get(artifact, [])]


@lru_cache(maxsize=1)
def _beyond(plan: Plan) -> dict[str, list[Link]]:
    """By artifact: the stages that attack it, ask it about texts that fooled others, and tell rows from outside."""
    found: dict[str, list[Link]] = {}
    for place in plan.attack_places():
        files = [plan.paths.path(name, **place) for name in ("attacks", "attack")]
        found.setdefault(place["artifact"], []).append(("attack", place, files))
    for language in language_models(plan.study):
        place = {"task": language.task, "model": language.model}
        files = [plan.paths.path(name, **place) for name in ("adapted", "adapted_model")]
        found[language.artifact] = [
            ("adapt", place, files),
            ("likelihood", place, [plan.paths.path("likelihoods", **place)]),
        ]
    for stage, name, wanted in (
        ("transfer", "transferred", matrix.transfer_targets(plan.study)),
        ("embed", "features", matrix.embedded(plan.study)),
        ("detect", "detection", matrix.detected(plan.study)),
    ):
        for cell in wanted:
            link = (stage, {"artifact": cell.artifact}, [plan.paths.path(name, artifact=cell.artifact)])
            found.setdefault(cell.artifact, []).append(link)
    return found


def cells(plan: Plan, past: Past | None = None) -> Iterator[Cell]:
    """Every artifact of the study with its state."""
    from ftbench.tables.unavailable import unavailable

    past = past or Past(plan)
    held, alive = set(driver.working(plan.paths.work)), driver.alive()
    stale, gone = outdated(plan), unavailable(plan.paths, plan.study)
    others = {cell.artifact: cell for cell in language_models(plan.study)}
    for artifact, cell in {**plan.stages.artifacts, **others}.items():
        left, state, at, reason, failed = 0.0, "done", "score", "", artifact
        for stage, wildcards, files in chain(plan, artifact):
            job = plan.job(stage, **wildcards)
            failure = _failure(plan, stage, job.cell)
            old = stale.get(stage, {}).get(job.cell) or _older(plan, job)
            if all(file.is_file() for file in files) and not old and failure is None and not left:
                continue
            left += past.seconds(job)
            if state != "done":
                continue
            at, failed = stage, job.cell
            if f"{stage} {job.cell}" in held:
                state = "running"
            elif failure is not None:
                state, reason = "failed", failure
            elif old:
                state, reason = "stale", old
            elif absent := next((gone[name] for name in (cell.task, cell.model) if name in gone), None):
                state, (at, failed, reason) = "failed", absent
            else:
                state = "queued" if alive else "to do"
        yield Cell(artifact, _row(cell), cell.task, state, at if state != "done" else "", left, reason, failed)


def _older(plan: Plan, job: PlannedJob) -> str | None:
    last = made.read(plan.paths.work, job.stage, job.cell)
    if last is None or (last.source == job.source and last.spec == job.spec.model_dump(mode="json")):
        return None
    return OLDER_SETTINGS


def _row(cell: matrix.Artifact | LanguageModel) -> str:
    if isinstance(cell, LanguageModel):
        return "language model"
    if isinstance(cell, matrix.SoupCell):
        return f"{cell.family} of {cell.method}"
    return cell.method if isinstance(cell, matrix.Run) else "base model"


def _failure(plan: Plan, stage: str, cell: str) -> str | None:
    from ftbench.tables.scan import json_object

    content = json_object(plan.paths.failure(stage, cell))
    return str(content.get("reason", "no reason recorded")) if content else None


def table(found: list[Cell]) -> Table:
    """Method by task: how many cells stand where."""
    from rich.table import Table

    tasks = list(dict.fromkeys(cell.task for cell in found))
    shown = Table("", *tasks)
    colours = dict(zip(STATES, ("green", "red", "yellow", "cyan", "blue", "dim"), strict=True))
    for row in dict.fromkeys(cell.row for cell in found):
        columns = []
        for task in tasks:
            counts = Counter(cell.state for cell in found if cell.row == row and cell.task == task)
            parts = [f"[{colours[state]}]{counts[state]} {state}[/]" for state in STATES if counts[state]]
            columns.append(", ".join(parts))
        shown.add_row(row, *columns)
    return shown


def summary(found: list[Cell]) -> str:
    """One line: how many cells stand where, and an estimate of the rest."""
    counts = Counter(cell.state for cell in found)
    text = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    left = sum(cell.seconds_left for cell in found)
    running = max(1, counts["running"])
    if not left:
        return f"{len(found)} cells: {text}"
    rest = f"about {duration(left)} of jobs left, {duration(left / running)} with {running} at a time"
    return f"{len(found)} cells: {text}; {rest}"


def duration(seconds: float) -> str:
    """Seconds in words, to two digits or so."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
