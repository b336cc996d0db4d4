"""The commands that look at a study and at the machine: status, why, accept, doctor, and the cost of a plan.

They only read, except `accept`, which writes one file. `cli.py` puts them beside the other commands.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftbench.config.errors import FtbenchError
from ftbench.paths import DATA_ROOT_VARIABLE

if TYPE_CHECKING:
    from ftbench.plan import Plan

Study = Annotated[str, typer.Argument(help="name of a study under config/studies, or a path to a file")]


def status(
    study: Study = "demo",
    watch: Annotated[float | None, typer.Option("--watch", min=1, help="print again every so many seconds")] = None,
    list_cells: Annotated[bool, typer.Option("--cells", help="a line for every cell that is not done")] = False,
) -> None:
    """Print where the cells of a study stand: done, failed, stale, running, queued; and what is left."""
    from rich.console import Console

    from ftbench.plan import Plan
    from ftbench.status import cells, summary, table

    console = Console()
    while True:
        found = list(cells(Plan.load(study)))
        if watch and console.is_terminal:
            console.clear()
        console.print(table(found))
        console.print(summary(found), highlight=False)
        for cell in found if list_cells else []:
            if cell.state != "done":
                console.print(
                    f"{cell.artifact}: {cell.state} at {cell.stage} {cell.reason}".rstrip(),
                    highlight=False,
                    markup=False,
                )
        if watch is None:
            return
        time.sleep(watch)


def why(
    artifact: Annotated[
        str | None, typer.Argument(help="an artifact's id, as in the tables: runs/..., soups/...")
    ] = None,
    study: Annotated[str, typer.Option("--study", help="name of a study, or a path to a file")] = "demo",
    every: Annotated[bool, typer.Option("--all", help="every cell that is stale or failed")] = False,
) -> None:
    """Say why a cell is stale or has failed: what changed, the end of its log, and what a rerun costs."""
    from ftbench.plan import Plan
    from ftbench.why import explain, explain_all

    if (artifact is None) != every:
        raise FtbenchError("give one artifact, or --all for every cell that is stale or failed")
    planned = Plan.load(study)
    for line in explain(planned, artifact) if artifact else explain_all(planned):
        typer.echo(line)


def accept(
    reason: Annotated[str, typer.Option("--why", help="why the change of the source alters no result, in a sentence")],
    study: Study = "demo",
) -> None:
    """Declare that changes of the source since the last run alter no result, so that nothing reruns for them."""
    from ftbench.accept import accept as accept_changes
    from ftbench.plan import Plan

    for line in accept_changes(Plan.load(study), reason):
        typer.echo(line)


def doctor(
    study: Annotated[
        str | None, typer.Argument(help="the study that is to be run; without it only the machine")
    ] = None,
    data_root: Annotated[Path | None, typer.Option("--data-root", help="folder of local Parquet files")] = None,
) -> None:
    """Look for what a study may stumble over here: packages, GPU, disk, locks, hub, SLURM. Status 1 at a problem."""
    from ftbench.doctor import examine
    from ftbench.plan import Plan

    if data_root is not None:
        os.environ[DATA_ROOT_VARIABLE] = str(data_root)
    problems = 0
    for found in examine(Plan.load(study) if study else None):
        mark = {"good": "ok", "note": "note", "problem": "PROBLEM"}[found.level]
        typer.echo(
            f"{mark.ljust(8)}{found.subject}: {found.text}" + (f"\n        -> {found.advice}" if found.advice else "")
        )
        problems += found.level == "problem"
    if problems:
        raise typer.Exit(1)


def print_cost(planned: Plan, workers: int) -> None:
    """What each stage of a study takes, and the whole with so many jobs at a time."""
    from rich.console import Console
    from rich.table import Table

    from ftbench.cost import costs, span
    from ftbench.queueing import stages_in_queue, waiting
    from ftbench.status import duration

    found = list(costs(planned))
    table = Table("stage", "jobs", "time", "on a GPU", "disk", "from")
    for one in found:
        gpu, disk = (
            (duration(one.gpu_seconds) if one.gpu_seconds else ""),
            (f"{one.disk_mb:.0f} MB" if one.disk_mb else ""),
        )
        table.add_row(one.stage, str(one.jobs), duration(one.seconds), gpu, disk, one.basis)
    console = Console()
    console.print(table)
    gpu_hours, gigabytes = sum(one.gpu_seconds for one in found) / 3600, sum(one.disk_mb for one in found) / 1000
    whole = duration(span(planned, workers))
    text = f"{sum(one.jobs for one in found)} jobs, {gpu_hours:.1f} GPU hours, {gigabytes:.1f} GB of weights; "
    console.print(f"{text}about {whole} with {workers} at a time, waiting for machines not counted", highlight=False)
    queue, stages = waiting(planned), stages_in_queue(planned)
    if queue.seconds is None:
        text = f"waiting in a queue: unknown ({queue.basis})"
    else:
        text = (
            f"waiting in a queue: about {duration(queue.seconds)} for a job, {duration(queue.seconds * stages)} for "
            f"{stages} stages one after the other ({queue.basis})"
        )
    console.print(text, highlight=False, soft_wrap=True)
