"""Scores under perturbation: a grid of mean heights, drops and failures, and a figure of the curves by strength.

Called by the stage `report` and its page; every number comes from the table `perturbations`. A method without all
seeds has no mean, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftbench import matrix
from ftbench.report.canvas import Canvas
from ftbench.report.grid import NO_VALUE, Entry, Grid, Title, number
from ftbench.report.leaderboard import Board, Row, mean_of_all
from ftbench.report.results import Record, Results

Curves = dict[tuple[str, str, str], list[Record]]  # by artifact, set and perturbation, ascending in strength


def curves(results: Results) -> Curves:
    """The rows of each curve."""
    found: Curves = {}
    for row in results.perturbations:
        found.setdefault((row["artifact_id"], row["eval_set"], row["perturbation"]), []).append(row)
    for rows in found.values():
        rows.sort(key=lambda row: float(row["strength"]))
    return found


def perturbed_sets(results: Results, board: Board) -> list[str]:
    """The sets of a board that are perturbed, in its order."""
    own = (row for row in results.perturbations if (row["task"], row["model"]) == (board.task, board.model))
    there = {row["eval_set"] for row in own}
    return [column.eval_set for column in board.columns if column.eval_set in there]


def perturbed_grid(results: Results, board: Board, eval_set: str) -> Grid:
    """Methods and soups by perturbation: the mean height of the curve, with the drop at the highest strength; of an
    edit that leaves no true label, the share of failures there."""
    found = curves(results)
    names = [name for name in results.study.perturbations if any(key[1:] == (eval_set, name) for key in found)]
    titles = [Title("unedited", "score of the same rows", "unedited")]
    for name in names:
        last = next(rows for key, rows in found.items() if key[1:] == (eval_set, name))[-1]
        seen = "mean height of the curve up to strength" if last["area"] is not None else "failures at strength"
        titles.append(Title(name, f"{seen} {last['strength']:g}", name))
    rows = []
    for row in (*board.rows, *(one for one in board.soups if one.kind == "soup")):
        artifacts = _artifacts(results, board, row)
        lines = [[found.get((artifact, eval_set, name)) for artifact in artifacts] for name in names]
        rows.append((row.label, (_clean(lines), *(_entry(line) for line in lines))))
    return Grid(tuple(titles), tuple(rows))


def _artifacts(results: Results, board: Board, row: Row) -> list[str]:
    if row.kind == "soup":
        return [str(row.details.get("soup_id", ""))]
    place = (board.task, board.model, str(row.method), str(row.variant))
    return [matrix.Run(*place, seed).artifact for seed in results.study.seeds]


def _mean(lines: Sequence[list[Record] | None], column: str, place: int = -1) -> float | None:
    return mean_of_all([line[place][column] if line else None for line in lines], len(lines))


def _unit(lines: Sequence[list[Record] | None]) -> str:
    return next((str(line[0]["unit"]) for line in lines if line), "fraction")


def _clean(curves_of: Sequence[Sequence[list[Record] | None]]) -> Entry:
    """The unedited score, from the first perturbation that has one."""
    for lines in curves_of:
        value = _mean(lines, "clean_value")
        if value is not None:
            return Entry(number(value, _unit(lines)))
    return Entry(NO_VALUE)


def _entry(lines: Sequence[list[Record] | None]) -> Entry:
    area, drop = _mean(lines, "area"), _mean(lines, "drop")
    invariance, direction = (_mean(lines, f"{name}_failure_rate") for name in ("invariance", "direction"))
    failed = invariance if direction is None else direction
    notes = [] if drop is None else [f"drop {number(drop, _unit(lines), signed=True)}"]
    if area is None:
        return Entry(number(failed, "fraction"), "of the changed texts" if failed is not None else "")
    notes += [] if failed is None else [f"failures {number(failed, 'fraction')}"]
    return Entry(number(area, _unit(lines)), ", ".join(notes))


def perturbation_curves(results: Results, boards: Sequence[Board], files: Sequence[Path]) -> bool:
    """One panel for each task, model, set and perturbation with a score: its curve by strength, a line a method."""
    found = curves(results)
    panels = [
        (board, eval_set, name)
        for board in boards
        for eval_set in perturbed_sets(results, board)
        for name in results.study.perturbations
        if any(key[1:] == (eval_set, name) and rows[0]["value"] is not None for key, rows in found.items())
    ]
    canvas = Canvas(max(1, len(panels)))
    if not panels:
        canvas.say(canvas.panel(""), "the study perturbs no texts, or nothing is scored under perturbation")
    for board, eval_set, name in panels:
        place = f"{board.task}, {board.model}: " if len(boards) > 1 else ""
        axes: Any = canvas.panel(f"{place}{name}, {eval_set}")
        for row in board.rows:
            lines = [found.get((artifact, eval_set, name)) for artifact in _artifacts(results, board, row)]
            _line(canvas, axes, row.label, [line for line in lines if line], len(lines))
        axes.set_xlabel("strength", fontsize=9)
    return canvas.save(files)


def _line(canvas: Canvas, axes: Any, label: str, lines: Sequence[list[Record]], expected: int) -> None:
    """The mean curve of a method over its seeds, and a band from the lowest to the highest seed."""
    if len(lines) < expected:
        return
    strengths = [row["strength"] for row in lines[0]]
    columns = [[line[place]["value"] for line in lines] for place in range(len(strengths))]
    if any(value is None for column in columns for value in column):
        return
    scale = 100 if lines[0][0]["unit"] == "fraction" else 1
    means = [scale * sum(column) / len(column) for column in columns]
    axes.plot(strengths, means, color=canvas.colour(label), marker=canvas.marker(label), markersize=4, linewidth=1.1)
    low, high = ([scale * of(column) for column in columns] for of in (min, max))
    axes.fill_between(strengths, low, high, color=canvas.colour(label), alpha=0.12, linewidth=0)
    axes.set_ylabel(f"{lines[0][0]['metric']}{' %' if scale == 100 else ''}", fontsize=9)
