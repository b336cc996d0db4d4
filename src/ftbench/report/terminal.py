"""The leaderboard in a terminal, for `ftbench show`.

Prints coverage, boards and soups with rich. The numbers are those of the page; notes are shorter, and where there
is a mean of the shifted sets it stands for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.report.coverage import coverage
from ftbench.report.grid import Entry, Grid, methods_grid, soups_grid
from ftbench.report.leaderboard import boards, selected
from ftbench.report.notes import reading_notes
from ftbench.report.results import Results

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def show(
    results: Results,
    console: Console | None = None,
    *,
    task: str | None = None,
    method: str | None = None,
    metric: str | None = None,
) -> None:
    """Print the report of a study, or of one task, method (or METHOD/VARIANT) or metric of it.

    To standard output unless a console is given.
    """
    from rich.console import Console

    out = console or Console()
    found = coverage(results)
    out.print(results.study.title or results.name, style="bold", markup=False)
    out.print(found.sentence(), markup=False)
    for gap in found.gaps:
        out.print(f"  {gap.stage}: {gap.reason} ({gap.named})", markup=False)
    for board in selected(boards(results, metric), task, method):
        place = f"{board.task}, {board.model}"
        out.print(_table(place, "method", methods_grid(board)))
        if board.soups:
            out.print(_table(f"soups: {place}", "soup", soups_grid(board)))
    for note in reading_notes(results):
        out.print(note, style="dim", markup=False)


def _table(title: str, first: str, grid: Grid) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # no lines between columns and little space, so that a board fits into 80 characters
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    table.title = Text(f"{title}: {grid.metric}" if grid.metric else title)
    table.add_column(first, no_wrap=True)
    shown = [index for index, column in enumerate(grid.titles) if not column.detail]
    for column in (grid.titles[index] for index in shown):
        table.add_column(Text(f"{column.name}\n{column.brief or column.about}"), justify="right", overflow="fold")
    for label, entries in grid.rows:
        table.add_row(Text(label), *(_entry(entries[index]) for index in shown))
    return table


def _entry(entry: Entry) -> Text:
    from rich.text import Text

    text = Text(entry.text, style="bold" if entry.bold else "")
    if entry.brief:
        text.append(f"\n{entry.brief}", style="dim not bold")
    return text
