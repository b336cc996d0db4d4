"""Why a cell is stale or has failed: what changed by name, the last lines of its log, and what a rerun costs.

`ftbench why` prints it. Everything comes from files: the notes of past jobs, the plan of the present study, logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftbench import made, sources, status
from ftbench.config.errors import FtbenchError, nearest
from ftbench.cost import Past
from ftbench.data_jobs import PlannedJob
from ftbench.language_cells import language_models
from ftbench.plan import Plan

LAST_LINES = 8


def explain(plan: Plan, artifact: str) -> Iterator[str]:
    """Lines about one artifact: every stage of its chain that is not up to date, and why."""
    known = [*plan.stages.artifacts, *(cell.artifact for cell in language_models(plan.study))]
    if artifact not in known:
        raise FtbenchError(f"unknown artifact `{artifact}`. {nearest(artifact, known)}")
    past = Past(plan)
    cell = next(cell for cell in status.cells(plan, past) if cell.artifact == artifact)
    yield f"{artifact}: {cell.state}" + (f" at {cell.stage}: {cell.reason}" if cell.reason else "")
    for stage, wildcards, files in status.chain(plan, artifact):
        job = plan.job(stage, **wildcards)
        for line in changes(plan, job):
            yield f"  {stage}: {line}"
        yield from younger_inputs(plan, job, files)
    if cell.state == "failed":
        log = plan.paths.path("log", stage=cell.stage, cell=cell.failed)
        yield f"  last lines of {log}:"
        for line in last_lines(log):
            yield f"    {line}"
    if cell.seconds_left:
        yield f"  a rerun takes about {status.duration(cell.seconds_left)}"


def explain_all(plan: Plan) -> Iterator[str]:
    """The same for every artifact that is not done; one line where everything is."""
    waiting = [cell for cell in status.cells(plan) if cell.state in ("stale", "failed")]
    for cell in waiting:
        yield from explain(plan, cell.artifact)
    if not waiting:
        yield "no cell is stale or failed"


def changes(plan: Plan, job: PlannedJob) -> Iterator[str]:
    """Config keys and functions that differ between a cell's last job and the one that the plan has now."""
    last = made.read(plan.paths.work, job.stage, job.cell)
    if last is None:
        return
    yield from differences(last.spec, job.spec.model_dump(mode="json"))
    if last.source == job.source:
        return
    named = sources.changes(plan.paths.sources, last.source, job.sources)
    if named is None:
        yield f"source {last.source} -> {job.source}; which functions is not known (made before they were noted)"
    for name in named or ():
        yield f"source of {name}"


def differences(before: Any, after: Any, key: str = "") -> Iterator[str]:
    """Leaves of two JSON values that differ, as `key: before -> after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            inner = f"{key}.{name}" if key else name
            if name not in before or name not in after:
                yield f"{inner}: {_shown(before.get(name))} -> {_shown(after.get(name))}"
            else:
                yield from differences(before[name], after[name], inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for position, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{key}.{position}")
    elif before != after:
        yield f"{key}: {_shown(before)} -> {_shown(after)}"


def younger_inputs(plan: Plan, job: PlannedJob, files: list[Path]) -> Iterator[str]:
    """Inputs that are younger than the files which a job made from them."""
    record = made.file_of(plan.paths.work, job.stage, job.cell)
    outputs = [file for file in files if file.is_file()]
    if not outputs or not record.is_file():
        return
    oldest = min(file.stat().st_mtime_ns for file in outputs)
    for name, path in job.inputs.items():
        file = Path(path)
        if file.is_file() and file.stat().st_mtime_ns > oldest:
            yield f"  {job.stage}: its input `{name}` ({path}) is younger"


def last_lines(log: Path) -> list[str]:
    """The end of a log; the command in its first line is left out."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ["(there is no log)"]
    return [line[:300] for line in lines[1:][-LAST_LINES:]]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
