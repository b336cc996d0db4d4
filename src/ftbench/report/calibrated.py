"""Calibration before and after temperature scaling: a grid of errors, and reliability diagrams.

Called by the stage `report` and its page; every number comes from the table `calibration`. A method
without all its seeds has no mean and no line, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftbench.report.canvas import Canvas
from ftbench.report.grid import NO_VALUE, ROLES, Entry, Grid, Title, number
from ftbench.report.leaderboard import Board, method_label, method_labels
from ftbench.report.members import Mean, mean_over, members
from ftbench.report.results import Record, Results

_SCALINGS = {"none": "as predicted", "temperature": "at the temperature"}
_FEWEST = 10  # examples that a bin of the diagram needs
_MOST_PANELS = 24
Lines = dict[tuple[str, str, str, str], dict[str, list[tuple[float, float]]]]


def calibration_grid(results: Results, board: Board) -> Grid:
    """Methods and soups by set: the error of the probabilities as they are, below it that after scaling; first the
    temperature. Sets of the prior task are left out, their temperature is not the task's."""
    names = [column.eval_set for column in board.columns if column.role != "prior"]
    rows = {(row["artifact_id"], row["eval_set"], row["scaling"]): row for row in results.calibration}
    about = {column.eval_set: f"{ROLES[column.role]}, error %" for column in board.columns}
    titles = (Title("temperature", "above 1: outputs were too sure"), *(Title(name, about[name]) for name in names))
    shown = []
    for row in (*board.rows, *board.soups):
        owners = members(results, board, row)
        if not any((owner, name, "none") in rows for owner in owners for name in names):
            continue
        cells = [_cell(rows, owners, name) for name in names]
        shown.append((row.label, (_temperature(rows, owners, names), *cells)))
    return Grid(titles, tuple(shown))


def _over(rows: dict[Any, Record], owners: Sequence[str], name: str, scaling: str, column: str) -> Mean:
    return mean_over([rows.get((owner, name, scaling), {}).get(column) for owner in owners], len(owners))


def _temperature(rows: dict[Any, Record], owners: Sequence[str], names: Sequence[str]) -> Entry:
    """The mean of the members, with lowest and highest, and how many lie at an end of the range."""
    own = [next((rows[key] for name in names if (key := (owner, name, "temperature")) in rows), {}) for owner in owners]
    values = [row.get("temperature") for row in own]
    mean = mean_over(values, len(owners)).value
    if mean is None:
        return Entry(NO_VALUE)
    present = [value for value in values if value is not None]
    notes = [f"{min(present):.2f} to {max(present):.2f}"] if len(present) > 1 else []
    ends = sum(row.get("temperature_at") in ("lowest", "highest") for row in own)
    return Entry(f"{mean:.2f}", "; ".join([*notes, *([f"{ends} of {len(own)} at an end"] if ends else [])]))


def _cell(rows: dict[Any, Record], owners: Sequence[str], name: str) -> Entry:
    before, after = (_over(rows, owners, name, scaling, "ece") for scaling in _SCALINGS)
    if before.value is None:
        return Entry(NO_VALUE)
    notes = [] if before.reach is None else [f"± {number(before.reach, 'fraction')}"]
    if after.value is not None:
        reach = "" if after.reach is None else f" ± {number(after.reach, 'fraction')}"
        notes.append(f"scaled {number(after.value, 'fraction')}{reach}")
    over = _over(rows, owners, name, "none", "overconfidence").value
    losses = [_over(rows, owners, name, scaling, "nll").value for scaling in _SCALINGS]
    notes += [] if over is None else [f"too sure by {number(over, 'fraction', signed=True)}"]
    if losses[0] is not None and losses[1] is not None:
        notes.append(f"NLL {losses[0]:.3f}, scaled {losses[1]:.3f}")
    return Entry(number(before.value, "fraction"), "; ".join(notes))


def reliability_lines(results: Results, board: Board) -> Lines:
    """Confidence and accuracy of each filled bin, both shares, by task, model, role and scaling, then by method. Seeds
    and sets of a role are pooled; a method that lacks any has no line."""
    import numpy as np

    roles = [column.role for column in board.columns]
    pooled: dict[tuple[str, str, str], list[Any]] = {}
    for row in results.calibration:
        if (row["task"], row["model"], row["artifact_kind"]) == (board.task, board.model, "run") and row["bin_n"]:
            key = row["role"], row["scaling"], method_label(row["method"], row["variant"])
            pooled.setdefault(key, []).append([row["bin_n"], row["bin_confidence"], row["bin_accuracy"]])
    found: Lines = {}
    for (role, scaling, label), parts in sorted(pooled.items()):
        n, sure, right = np.nan_to_num(np.array(parts, dtype=float)).transpose(1, 0, 2)  # (sets of all seeds, bins)
        filled = n.sum(axis=0) >= _FEWEST
        if len(parts) != len(results.study.seeds) * roles.count(role) or not filled.any():
            continue
        total = n.sum(axis=0)[filled]
        means = ((n * values).sum(axis=0)[filled] / total for values in (sure, right))
        place = (board.task, board.model, role, scaling)
        found.setdefault(place, {})[label] = [(float(x), float(y)) for x, y in zip(*means, strict=True)]
    return found


def draw_reliability(results: Results, boards: Sequence[Board], files: Sequence[Path]) -> bool:
    """Two panels a role and board, before and after scaling: accuracy over confidence, a line a method. Returns whether
    there is anything to see."""
    panels = [
        (board, place, lines[place])
        for board in boards
        for lines in [reliability_lines(results, board)]
        for role in ("id", "ood")
        for scaling in _SCALINGS
        if (place := (board.task, board.model, role, scaling)) in lines
    ][:_MOST_PANELS]
    canvas = Canvas(max(1, len(panels)), method_labels(results.study), panels_a_row=2)
    if not panels:
        canvas.say(canvas.panel(""), "no method has all its probabilities in domain or under shift")
    for _, (task, model, role, scaling), lines in panels:
        where = f"{task}, {model}: " if len(boards) > 1 else ""
        _diagram(canvas, canvas.panel(f"{where}{ROLES[role]}, {_SCALINGS[scaling]}"), lines)
    return canvas.save(files)


def _diagram(canvas: Canvas, axes: Any, lines: dict[str, list[tuple[float, float]]]) -> None:
    axes.plot([0, 100], [0, 100], color="0.7", linewidth=0.8, zorder=0)
    for label, points in lines.items():
        axes.plot(
            [100 * sure for sure, _ in points], [100 * right for _, right in points], color=canvas.colour(label),
            marker=canvas.marker(label), markersize=4, linewidth=1.1, alpha=0.8,
        )  # fmt: skip
    lowest = min(value for points in lines.values() for point in points for value in point)
    axes.set_xlim(max(0.0, 100 * lowest - 4), 101)
    axes.set_ylim(max(0.0, 100 * lowest - 4), 101)
    axes.set_xlabel("confidence %", fontsize=9)
    axes.set_ylabel("accuracy %", fontsize=9)
