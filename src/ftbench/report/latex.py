"""The leaderboard as LaTeX tables, to be included in a paper.

Called by the stage `report`. Needs the package booktabs; it prints what `report/grid.py` hands it.
"""

from __future__ import annotations

from ftbench.report.grid import NO_VALUE, Entry, Grid, methods_grid, soups_grid
from ftbench.report.leaderboard import Board
from ftbench.report.notes import reading_notes
from ftbench.report.results import Results

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    NO_VALUE: "--",
}


def latex(results: Results, boards: list[Board]) -> str:
    """Tables with captions; the notes on how to read them are comments."""
    lines = ["% \\usepackage{booktabs}", *(f"% {note}" for note in reading_notes(results)), ""]
    for board in boards:
        lines += _table("method", methods_grid(board), f"{board.task}, {board.model}")
        if board.soups:
            lines += _table("soup", soups_grid(board), f"Soups: {board.task}, {board.model}")
    return "\n".join(lines) + "\n"


def _table(first: str, grid: Grid, caption: str) -> list[str]:
    return [
        r"\begin{table}",
        rf"\caption{{{escape(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(grid.titles)}}}",
        r"\toprule",
        " & ".join([first, *(escape(title.name) for title in grid.titles)]) + r" \\",
        " & ".join(["", *(rf"\scriptsize {escape(title.about)}" for title in grid.titles)]) + r" \\",
        r"\midrule",
        *(" & ".join([escape(label), *map(_entry, entries)]) + r" \\" for label, entries in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def _entry(entry: Entry) -> str:
    text = rf"\textbf{{{escape(entry.text)}}}" if entry.bold else escape(entry.text)
    return rf"{text} {{\scriptsize {escape(entry.note)}}}" if entry.note else text


def escape(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)
