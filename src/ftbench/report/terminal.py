"""The leaderboard in a terminal, for `ftbench show`.

Prints coverage, boards and soups with rich; the numbers are those of the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.report.coverage import coverage
from ftbench.report.grid import Entry, Grid, methods_grid, soups_grid
from ftbench.report.leaderboard import boards
from ftbench.report.notes import reading_notes
from ftbench.report.results import Results

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def show(results: Results, console: Console | None = None) -> None:
    """Print the report of a study; to standard output unless a console is given."""
    from rich.console import Console

    out = console or Console()
    found = coverage(results)
    out.print(results.study.title or results.name, style="bold", markup=False)
    out.print(found.sentence(), markup=False)
    for gap in found.gaps:
        out.print(f"  {gap.stage}: {gap.reason} ({gap.named})", markup=False)
    for board in boards(results):
        place = f"{board.task}, {board.model}"
        out.print(_table(place, "method", methods_grid(board)))
        if board.soups:
            out.print(_table(f"soups: {place}", "soup", soups_grid(board)))
    for note in reading_notes(results):
        out.print(note, style="dim", markup=False)


def _table(title: str, first: str, grid: Grid) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    table.add_column(first)
    for name, second in grid.titles:
        table.add_column(Text(f"{name}\n{second}"), justify="right")
    for label, entries in grid.rows:
        table.add_row(Text(label), *map(_entry, entries))
    return table


def _entry(entry: Entry) -> Text:
    from rich.text import Text

    text = Text(entry.text, style="bold" if entry.bold else "")
    if entry.note:
        text.append(f"\n{entry.note}", style="dim not bold")
    return text
