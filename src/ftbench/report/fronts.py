"""Figures of a score against what it costs or loses: forgetting, training time, calibration error.

Called by the stage `report`. One point a method and variant, a mean over all seeds; a method without all of them is
left out, as in every table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ftbench import matrix
from ftbench.report.canvas import Canvas
from ftbench.report.cost import costs
from ftbench.report.leaderboard import Board, Row, mean_of_all
from ftbench.report.results import Results

Coordinate = Callable[[Board, Row], float | None]


def forgetting(boards: list[Board], files: Sequence[Path]) -> bool:
    """In-domain score against the change on the prior task: up and right is better."""
    return _fronts(
        boards, files, _inside, _change, "in-domain", "change on the prior task",
        "the study has no prior task, or no method has all scores",
    )  # fmt: skip


def cost(results: Results, boards: list[Board], files: Sequence[Path]) -> bool:
    """Training time against the in-domain score: up and left is better."""
    seconds = {
        (item.task, item.model, item.label): item.seconds
        for board in boards
        for item in costs(results, board.task, board.model)
    }
    return _fronts(
        boards, files, lambda board, row: seconds.get((board.task, board.model, row.label)), _inside,
        "training, s a run", "in-domain", "no method has all scores and times",
    )  # fmt: skip


def calibration(results: Results, boards: list[Board], files: Sequence[Path]) -> bool:
    """Calibration error in domain against that under shift: down and left is better."""
    scores = {(row["artifact_id"], row["eval_set"], row["metric"]): row["value"] for row in results.metrics}

    def mean(role: str) -> Coordinate:
        def of(board: Board, row: Row) -> float | None:
            runs = [
                matrix.Run(board.task, board.model, str(row.method), str(row.variant), seed).artifact
                for seed in results.study.seeds
            ]
            sets = [column.eval_set for column in board.columns if column.role == role]
            values = [scores.get((run, name, "ece")) for run in runs for name in sets]
            found = mean_of_all(values, len(values)) if values else None
            return None if found is None else 100 * found

        return of

    return _fronts(
        boards, files, mean("id"), mean("ood"), "calibration error in domain %", "under shift %",
        "no method has a calibration error both in domain and under shift",
    )  # fmt: skip


def _inside(board: Board, row: Row) -> float | None:
    return _mean(board, row, "id", lambda cell: cell.mean)


def _change(board: Board, row: Row) -> float | None:
    return _mean(board, row, "prior", lambda cell: cell.change)


def _mean(board: Board, row: Row, role: str, take: Callable[[Any], float | None]) -> float | None:
    pairs = [(column, cell) for column, cell in zip(board.columns, row.cells, strict=True) if column.role == role]
    if not pairs:
        return None
    found = mean_of_all([take(cell) for _, cell in pairs], len(pairs))
    return None if found is None else found * (100 if pairs[0][0].unit == "fraction" else 1)


def _fronts(
    boards: list[Board], files: Sequence[Path], across: Coordinate, up: Coordinate, right: str, above: str, nothing: str
) -> bool:
    # the rows of every board are those of the study, in one order
    canvas = Canvas(len(boards), [row.label for row in boards[0].rows] if boards else [])
    for board in boards:
        axes = canvas.panel(f"{board.task}, {board.model}")
        found = [(row.label, across(board, row), up(board, row)) for row in board.rows]
        present = [(label, one, other) for label, one, other in found if one is not None and other is not None]
        for label, one, other in present:
            canvas.point(axes, one, other, label)
        if not present:
            canvas.say(axes, nothing)
            continue
        axes.set_xlabel(right, fontsize=9)
        axes.set_ylabel(above, fontsize=9)
    return canvas.save(files)
