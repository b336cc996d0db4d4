"""The commands on finished results, added to the command line by `cli.py`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ftbench.config.errors import FtbenchError, nearest
from ftbench.reading.output import Format

StudyArgument = Annotated[str, typer.Argument(help="name of a study, or a path to its file")]
FormatOption = Annotated[Format, typer.Option("--format", help="form of the output")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="file to write instead of the terminal")]


def add_commands(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (show, query, compare, power, table, bundle, verify, merge):
        app.command()(command)


def show(
    study: StudyArgument = "demo",
    task: Annotated[str | None, typer.Option(help="only this task")] = None,
    method: Annotated[str | None, typer.Option(help="only this method, or METHOD/VARIANT")] = None,
    metric: Annotated[str | None, typer.Option(help="this metric instead of the leading one")] = None,
    why: Annotated[bool, typer.Option("--why", help="where the numbers come from: run, log, settings, code")] = False,
) -> None:
    """Print the leaderboard of a study, and where its tables and its report are."""
    from ftbench.config.load import load_study
    from ftbench.partial import newest
    from ftbench.paths import study_paths
    from ftbench.reading.folders import ResultsFolder
    from ftbench.reading.why import origins
    from ftbench.report.results import TABLES, load
    from ftbench.report.terminal import show as print_leaderboard

    loaded = load_study(study, Path())
    paths = newest(study_paths(loaded.name))
    if task is not None and task not in loaded.study.tasks:
        raise FtbenchError(f"unknown task `{task}`. {nearest(task, loaded.study.tasks)}")
    if method is not None and method.partition("/")[0] not in loaded.study.methods:
        raise FtbenchError(f"unknown method `{method}`. {nearest(method, loaded.study.methods)}")
    if why:
        for line in origins(ResultsFolder(loaded.name, study_paths(loaded.name), paths), task, method, metric):
            typer.echo(line)
        return
    files = {table: paths.path("tables", table=table) for table in TABLES}
    results = load(loaded.name, loaded.study, files)
    if metric is not None and metric not in (known := {row["metric"] for row in results.metrics}):
        raise FtbenchError(f"unknown metric `{metric}`. {nearest(metric, known)}")
    print_leaderboard(results, task=task, method=method, metric=metric)
    typer.echo(f"tables: {paths.root}/tables   report: {paths.path('report', page='index.html')}")


def query(
    sql: Annotated[str, typer.Argument(help="one SQL statement that reads; views are named as the tables")],
    study: Annotated[
        list[str] | None, typer.Option("--study", "-s", help="a study or a folder of results; give it again for more")
    ] = None,
    form: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Ask the tables of one or more studies in SQL (DuckDB, read only); every view has a column `study`."""
    from ftbench.reading.folders import folder_of
    from ftbench.reading.output import emit
    from ftbench.reading.query import query as ask

    folders = [folder_of(name) for name in study or ["demo"]]
    if len({folder.name for folder in folders}) < len(folders):
        raise FtbenchError(f"found two studies of one name: {[folder.name for folder in folders]}; rename a folder")
    emit(ask(sql, folders), form, output)


def compare(
    first: Annotated[str, typer.Argument(help="a study, a folder of results, a commit, or FOLDER@COMMIT")],
    second: Annotated[str, typer.Argument(help="another one")],
    all_cells: Annotated[bool, typer.Option("--all", help="also cells that are equal in everything")] = False,
    form: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """Compare two folders of results, or what two commits made: which scores moved beyond noise, which are missing,
    which come from other code, settings or data."""
    from collections import Counter

    from pyarrow import compute

    from ftbench.reading.difference import data_changes, differences
    from ftbench.reading.folders import folder_of
    from ftbench.reading.output import emit

    folders = folder_of(first), folder_of(second)
    rows = differences(*folders)
    counts = Counter(rows.column("verdict").to_pylist())
    moved = compute.not_equal(rows.column("verdict"), "same")
    changed = compute.not_equal(rows.column("changed"), "")
    emit(rows if all_cells else rows.filter(compute.or_(moved, changed)), form, output)
    for line in data_changes(*folders):
        typer.echo(line, err=True)
    summary = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    other = compute.sum(changed).as_py() or 0
    typer.echo(f"{rows.num_rows} cells: {summary or 'none in common'}; {other} from something else changed", err=True)


def power(
    difference: Annotated[
        float, typer.Argument(help="difference to be shown, in the metric's unit: 0.01 is one point of accuracy")
    ],
    study: Annotated[str, typer.Option("--study", "-s", help="name of a study, or a path to its file")] = "demo",
    form: FormatOption = Format.table,
    output: OutputOption = None,
) -> None:
    """How many seeds would show a difference of this size, going by how much the runs of a study scatter."""
    from ftbench.config.load import load_study
    from ftbench.reading.folders import folder_of
    from ftbench.reading.output import emit
    from ftbench.reading.power import seeds_for

    metrics = folder_of(study).table("metrics")
    assert metrics is not None  # folder_of asked for it
    emit(seeds_for(load_study(study, Path()).study, metrics, difference), form, output)
    typer.echo("paired t-test over seeds at 5 %, 80 % power, before any adjustment: a lower bound", err=True)


class Syntax(StrEnum):
    """Forms of a table for a paper."""

    markdown = "markdown"
    latex = "latex"
    methods = "methods"
    bibtex = "bibtex"


def table(
    study: StudyArgument = "demo",
    rows: Annotated[
        str, typer.Option(help="one or more of task, model, method, eval_set, metric, with commas")
    ] = "method",
    columns: Annotated[str, typer.Option(help="the same; what else varies becomes columns too")] = "",
    metric: Annotated[str | None, typer.Option(help="metric of every set; without it the leading one of each")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE keeps one value, for example task=reviews; give it again for more"),
    ] = None,
    syntax: Annotated[
        Syntax, typer.Option(help="methods: the paragraph on methods; bibtex: what to cite")
    ] = Syntax.markdown,
    output: OutputOption = None,
) -> None:
    """Print a table for a paper: mean and interval over seeds, marks for differences, footnotes on missing cells."""
    from ftbench.cited import cited_sources
    from ftbench.config.load import load_catalogue, load_study
    from ftbench.partial import newest
    from ftbench.paths import study_paths
    from ftbench.report.citations import bibliography, citations
    from ftbench.report.methods_text import methods_text
    from ftbench.report.paper import paper_latex, paper_markdown
    from ftbench.report.pivot import pivot
    from ftbench.report.results import TABLES, load

    loaded = load_study(study, Path())
    places = newest(study_paths(loaded.name))
    results = load(loaded.name, loaded.study, {name: places.path("tables", table=name) for name in TABLES})
    if syntax in (Syntax.methods, Syntax.bibtex):
        sources = cited_sources(loaded.study, load_catalogue(Path()))
        found = citations(sources)
        text = bibliography(found) if syntax is Syntax.bibtex else methods_text(results, sources, found, latex=False)
    else:
        kept = dict(_pair(item) for item in only or [])
        made = pivot(results, _names(rows), _names(columns), kept, metric)
        text = paper_latex(results, made) if syntax is Syntax.latex else paper_markdown(results, made)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise FtbenchError(f"found `--only {text}`; expected NAME=VALUE, for example task=reviews")
    return name.strip(), value.strip()


def bundle(
    study: StudyArgument,
    out: Annotated[Path, typer.Argument(help="archive to write, a .zip file")],
    weights: Annotated[bool, typer.Option("--weights", help="pack the weights of runs and soups too")] = False,
    predictions: Annotated[bool, typer.Option("--predictions", help="pack the stored predictions too")] = False,
) -> None:
    """Pack tables, records, provenance and report of a study into one archive with digests."""
    import json

    from ftbench.config.load import load_study
    from ftbench.reading.bundle import bundle as pack
    from ftbench.reading.folders import folder_of

    folder, loaded = folder_of(study), load_study(study, Path())
    manifest = pack(folder, out, json.loads(loaded.study.canonical()), weights, predictions)
    size = sum(item["size"] for item in manifest["files"].values())
    typer.echo(f"{out}: {len(manifest['files'])} files, {size / 2**20:.1f} MiB before packing")


def verify(archive: Annotated[Path, typer.Argument(help="archive that `ftbench bundle` made")]) -> None:
    """Check an archive: every file is there with its digest, nothing else is, and the tables are valid."""
    from ftbench.reading.archive import checked_tables, unpacked, verified

    manifest = verified(archive)
    with unpacked(archive) as root:
        counts = checked_tables(root)
    tables = ", ".join(f"{name} {count}" for name, count in counts.items())
    typer.echo(f"{archive}: {len(manifest['files'])} files as listed; rows of tables: {tables}")


def merge(
    out: Annotated[Path, typer.Argument(help="folder for the joined results")],
    sites: Annotated[list[str], typer.Argument(help="archives, or folders of results, of two or more sites")],
    study: Annotated[
        str | None, typer.Option(help="study that spans all sites; compares and reports the joined tables")
    ] = None,
) -> None:
    """Join the tables of several sites; refuses what does not match and says why."""
    from contextlib import ExitStack

    from ftbench.reading.archive import unpacked
    from ftbench.reading.folders import folder_of
    from ftbench.reading.merge import merge as join
    from ftbench.reading.rebuild import compare_and_report

    if len(sites) < 2:
        raise FtbenchError(f"found {len(sites)} site; expected two or more to join")
    if (out / "tables").exists():
        raise FtbenchError(f"{out}: found tables that are there already. Name another folder, or remove it.")
    with ExitStack() as opened:
        folders = {
            site: opened.enter_context(unpacked(Path(site))) if site.endswith(".zip") else folder_of(site).tables.root
            for site in sites
        }
        counts = join(folders, out, out.resolve().name)
    typer.echo(f"{out}/tables: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    if study is not None:
        typer.echo(f"report: {compare_and_report(study, out)}")
