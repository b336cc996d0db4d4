"""The leaderboard as Markdown, for a README or a pull request.

Called by the stage `report`. It prints what `report/grid.py` hands it and computes nothing.
"""

from __future__ import annotations

from ftbench.report.coverage import coverage
from ftbench.report.grid import Entry, Grid, methods_grid, soups_grid
from ftbench.report.leaderboard import Board
from ftbench.report.notes import reading_notes
from ftbench.report.results import Results


def markdown(results: Results, boards: list[Board]) -> str:
    """The whole document, ending in a newline."""
    found = coverage(results)
    lines = [f"# {results.study.title or results.name}", "", found.sentence(), ""]
    lines += [f"- {gap.stage}: {_line(gap.reason)} ({gap.named})" for gap in found.gaps]
    lines += [""] if found.gaps else []
    for board in boards:
        lines += [f"## {board.task}, {board.model}", "", *_table("method", methods_grid(board)), ""]
        if board.soups:
            lines += ["Soups:", "", *_table("soup", soups_grid(board)), ""]
    lines += [f"- {note}" for note in reading_notes(results)]
    return "\n".join(lines) + "\n"


def _table(first: str, grid: Grid) -> list[str]:
    titles = [first, *(f"{_cell(title.name)} ({_cell(title.about)})" for title in grid.titles)]
    lines = [f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"]
    lines += [f"| {' | '.join([_cell(label), *map(_entry, entries)])} |" for label, entries in grid.rows]
    return lines


def _entry(entry: Entry) -> str:
    text = f"**{entry.text}**" if entry.bold else entry.text
    return f"{text} ({_cell(entry.note)})" if entry.note else text


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())
