"""A board as a grid of text: what Markdown, LaTeX, the page and the terminal print, each in its own syntax.

Rounding happens here and nowhere else, and only here do fractions become percent.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftbench.report.leaderboard import Board, Cell, EvaluationColumn, Row

ROLES = {"id": "in-domain", "ood": "shifted", "stress": "stress", "prior": "prior task"}  # in words
NO_VALUE = "\N{EN DASH}"


@dataclass(frozen=True)
class Entry:
    """One printed cell: the number, a note on it, the same in brief, and whether the number is bold."""

    text: str
    note: str = ""
    brief: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Title:
    """The head of a column: its name, what it shows, and that in brief. `detail` columns enter a mean beside them."""

    name: str
    about: str
    brief: str = ""
    detail: bool = False


@dataclass(frozen=True)
class Grid:
    """Heads of columns, and rows of a label and entries; `metric` where all columns show the same one."""

    titles: tuple[Title, ...]
    rows: tuple[tuple[str, tuple[Entry, ...]], ...]
    metric: str = ""


def number(value: float | None, unit: str, signed: bool = False) -> str:
    """A score in print: percent with one decimal for fractions, three decimals for the rest."""
    if value is None:
        return NO_VALUE
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}" if unit == "fraction" else f"{value:{sign}.3f}"


def methods_grid(board: Board) -> Grid:
    """The leaderboard proper: the model before fine-tuning if it is scored, then every method and variant."""
    rows = [(row.label, _entries(board, row)) for row in ((board.base,) if board.base else ()) + board.rows]
    return Grid(_titles(board), tuple(rows), _only_metric(board))


def soups_grid(board: Board) -> Grid:
    """The soups: ingredients taken, select scores, then the same sets as the methods."""
    own = (
        Title("runs", "taken / tried; members of an ensemble", "taken"),
        Title("select", "soup / best run", "soup/best"),
    )
    rows = tuple((row.label, (*_soup(row), *_entries(board, row))) for row in board.soups)
    return Grid((*own, *_titles(board)), rows, _only_metric(board))


def _titles(board: Board) -> tuple[Title, ...]:
    only = _only_metric(board)
    titles = [
        Title(
            column.eval_set,
            f"{ROLES[column.role]}, {_metric(column)}",
            ROLES[column.role] if only else _metric(column),
            detail=column.role == "ood" and _has_mean(board),
        )
        for column in board.columns
    ]
    if _has_mean(board):
        titles.append(Title("shifted", "mean of all shifted sets", "mean"))
    return tuple(titles)


def _only_metric(board: Board) -> str:
    found = {_metric(column) for column in board.columns}
    return found.pop() if len(found) == 1 else ""


def _metric(column: EvaluationColumn) -> str:
    unit = " %" if column.unit == "fraction" else ""
    return f"{column.metric}{unit}" + ("" if column.higher_is_better else ", lower is better")


def _has_mean(board: Board) -> bool:
    return sum(column.role == "ood" for column in board.columns) > 1


def _entries(board: Board, row: Row) -> tuple[Entry, ...]:
    entries = [_entry(row.kind, cell, column) for column, cell in zip(board.columns, row.cells, strict=True)]
    if _has_mean(board):
        unit = next(column.unit for column in board.columns if column.role == "ood")
        entries.append(Entry("" if row.kind == "base" else number(row.shifted, unit)))
    return tuple(entries)


def _entry(kind: str, cell: Cell, column: EvaluationColumn) -> Entry:
    if kind == "base" and column.role != "prior":
        return Entry("")  # the model before fine-tuning has no head for the task
    if cell.mean is None:
        gap = f"{cell.n} of {cell.expected} seeds" if kind == "run" else ""
        return Entry(NO_VALUE, gap, gap)
    notes, brief = [], []
    if cell.reach is not None:
        notes.append(f"± {number(cell.reach, column.unit)}")
    if cell.low is not None and cell.high is not None and cell.low < cell.high:
        notes.append(f"{number(cell.low, column.unit)} to {number(cell.high, column.unit)}")
    if cell.change is not None:
        brief.append(number(cell.change, column.unit, signed=True))
        notes.append(f"{brief[0]} against before")
    if kind == "run":
        notes.append(f"n = {cell.n}")
        if cell.verdict:
            notes.append(cell.verdict)
            brief.append(cell.verdict)
    text = number(cell.mean, column.unit)
    return Entry(text, "; ".join(notes), ", ".join(brief), bold=cell.verdict == "better")


def _soup(row: Row) -> tuple[Entry, Entry]:
    details = row.details
    if row.kind == "ensemble":
        return Entry(str(details["n_candidates"])), Entry(NO_VALUE)
    if details.get("status") != "success":
        return Entry(NO_VALUE, str(details.get("status", "missing"))), Entry(NO_VALUE)
    taken, tried = details["n_ingredients"], details["n_candidates"]
    known = taken is not None and tried is not None
    scores = [details["select_score"], details["best_single_score"]]
    text = " / ".join(NO_VALUE if score is None else f"{score:.3f}" for score in scores)
    return Entry(f"{taken} / {tried}" if known else NO_VALUE), Entry(text, str(details["select_metric"] or ""))
