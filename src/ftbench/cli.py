"""The `ftbench` command: check, plan, list, show and describe. Training is the workflow's business.

Errors that users can mend are printed without a traceback, and the exit status is 1.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ftbench import describe, inspection, scaffold
from ftbench.config.errors import FtbenchError
from ftbench.reading.commands import add_commands

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(describe.app, name="describe")
app.add_typer(scaffold.app, name="new")

StudyArgument = Annotated[str, typer.Argument(help="name of a study under config/studies, or a path to a file")]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="folder of local Parquet files, looked at before the hub"),
]


class Listed(StrEnum):
    """What `ftbench list` can list."""

    methods = "methods"
    datasets = "datasets"
    models = "models"
    studies = "studies"
    soups = "soups"
    attacks = "attacks"
    perturbations = "perturbations"
    metrics = "metrics"


def _use(data_root: Path | None) -> None:
    from ftbench.paths import DATA_ROOT_VARIABLE

    if data_root is not None:
        os.environ[DATA_ROOT_VARIABLE] = str(data_root)


@app.command()
def check(
    study: Annotated[str | None, typer.Argument(help="one study; without it every study")] = None,
) -> None:
    """Check a study, or every shipped file, and report all errors at once."""
    from ftbench.check import study_problems
    from ftbench.check_models import model_problems
    from ftbench.config.load import load_catalogue, load_study

    root = Path()
    references = [study] if study else [str(file) for file in sorted((root / "config" / "studies").glob("*.yaml"))]
    if not references:
        raise FtbenchError("found no config/studies here; run this in the project's folder")
    problems: list[str] = []
    catalogue = None
    try:
        catalogue = load_catalogue(root)
    except FtbenchError as error:
        problems += str(error).splitlines()
    for reference in references:
        try:
            loaded = load_study(reference, root)
            if catalogue is not None:
                problems += study_problems(loaded, catalogue) or model_problems(loaded, catalogue)
        except FtbenchError as error:
            problems += str(error).splitlines()
    if problems:
        raise FtbenchError("\n".join(problems))
    typer.echo(f"{len(references)} {'study' if len(references) == 1 else 'studies'} checked: no problem found")


@app.command()
def plan(
    study: StudyArgument = "demo",
    data_root: DataRoot = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="hours, GPU hours and disk, from past runs where there are any")
    ] = False,
    workers: Annotated[int, typer.Option("--jobs", min=1, help="jobs at a time, for the time from start to end")] = 2,
) -> None:
    """Print the matrix of a study and how many jobs each stage has."""
    from rich.console import Console
    from rich.table import Table

    from ftbench.plan import Plan

    _use(data_root)
    planned = Plan.load(study)
    content = planned.study
    console = Console()
    console.print(f"[bold]{planned.loaded.name}[/bold]: {content.title}", highlight=False)
    variants = sum(len(content.variants(method)) for method in content.methods)
    console.print(
        f"{len(content.tasks)} task(s) x {len(content.models)} model(s) x {variants} method setting(s) "
        f"x {len(content.seeds)} seed(s)",
        highlight=False,
    )
    if cost:
        inspection.print_cost(planned, workers)
        return
    table = Table("stage", "jobs", "what")
    jobs = list(planned.jobs())
    counts = Counter(job.stage for job in jobs)
    for stage, count in counts.items():
        cells = [job.cell for job in jobs if job.stage == stage]
        table.add_row(stage, str(count), cells[0] + (f" ... {cells[-1]}" if count > 1 else ""))
    table.add_row("all", str(sum(counts.values())), "")
    console.print(table)


@app.command("list")
def list_(kind: Annotated[Listed, typer.Argument(help="what to list")]) -> None:
    """List what there is, with a line each."""
    from ftbench.config.load import load_catalogue, load_study
    from ftbench.plugins import KINDS, plugins

    lines: dict[str, str] = {}
    if kind.value in KINDS:
        lines = {name: found.summary for name, found in plugins(kind.value).items()}
    elif kind is Listed.studies:
        for file in sorted(Path("config/studies").glob("*.yaml")):
            lines[file.stem] = load_study(str(file), Path()).study.title
    else:
        entries = getattr(load_catalogue(Path()), kind.value)
        for name, entry in sorted(entries.items()):
            lines[name] = f"{entry.title} ({entry.licence})" if entry.licence else entry.title
    width = max((len(name) for name in lines), default=0)
    for name, text in lines.items():
        typer.echo(f"{name.ljust(width)}  {' '.join(text.split())}")
    if not lines:
        typer.echo(f"no {kind.value} found")


for command in (inspection.status, inspection.why, inspection.accept, inspection.doctor):
    app.command()(command)


@app.command()
def tables(study: StudyArgument = "demo") -> None:
    """Build tables and report from what exists, and say what is missing and why. The workflow calls it after a
    failure; a complete study gets its tables from `snakemake`."""
    from ftbench.partial import build_tables

    for line in build_tables(study):
        typer.echo(line)


@app.command("export")
def export_(
    artifact: Annotated[str, typer.Argument(help="id of a run or a soup, as the tables have it")],
    folder: Annotated[Path, typer.Argument(help="new folder to write")],
    study: Annotated[str, typer.Option(help="name of a study, or a path to a file")] = "demo",
) -> None:
    """Write a run or a soup as a folder that transformers loads, with a model card."""
    from ftbench.export import export

    for line in export(artifact, folder, study):
        typer.echo(line)


@app.command()
def schema() -> None:
    """Write config/schema.json, the JSON schema of all configuration files, for editors."""
    import json

    from ftbench.config.load import json_schemas

    file = Path("config/schema.json")
    if not file.parent.is_dir():
        raise FtbenchError("found no folder config here; run this in the project's folder")
    file.write_text(json.dumps(json_schemas(), indent=1, sort_keys=True) + "\n")
    typer.echo(f"written: {file}")


add_commands(app)


def main() -> None:
    """Entry point of the command `ftbench`."""
    try:
        app()
    except FtbenchError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
