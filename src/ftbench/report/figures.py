"""Scores under shift against scores in domain, with the line that they follow.

Called by the stage `report`; draws with matplotlib into a file and shows nothing on a screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftbench.report.canvas import Canvas
from ftbench.report.leaderboard import Board, EvaluationColumn, family_label, mean_of_all, method_labels
from ftbench.report.results import Results

_COMBINED = {"soup": "*", "ensemble": "p"}
_NOTHING = "no run has scores both in domain and under shift"


@dataclass(frozen=True)
class Point:
    """One artifact: mean score over the in-domain sets and over the shifted sets."""

    label: str
    kind: str
    inside: float
    shifted: float


def points(results: Results, board: Board) -> list[Point]:
    """Runs, soups and ensembles of a board that have all scores of both roles; others are left out, never filled in."""
    wanted = {role: [column for column in board.columns if column.role == role] for role in ("id", "ood")}
    if not wanted["id"] or not wanted["ood"]:
        return []
    scores = {(row["artifact_id"], row["eval_set"], row["metric"]): row["value"] for row in results.metrics}
    artifacts = {
        row["artifact_id"]: row
        for row in results.metrics
        if (row["task"], row["model"]) == (board.task, board.model)
        and row["artifact_kind"] in ("run", "soup", "ensemble")
    }
    found = []
    for artifact, row in artifacts.items():
        inside, shifted = (_mean(scores, artifact, wanted[role]) for role in ("id", "ood"))
        if inside is not None and shifted is not None:
            label = family_label(row["method"], row["variant"])
            found.append(Point(label, row["artifact_kind"], inside, shifted))
    return found


def _mean(scores: dict[Any, float | None], artifact: str, columns: Sequence[EvaluationColumn]) -> float | None:
    return mean_of_all([scores.get((artifact, item.eval_set, item.metric)) for item in columns], len(columns))


def draw(results: Results, boards: list[Board], files: Sequence[Path]) -> bool:
    """One panel for each task and model; one point a run, a star a soup, a pentagon an ensemble. A panel without
    points says so, and the figure is False where all do, as every figure's function."""
    canvas = Canvas(len(boards), method_labels(results.study))
    for board in boards:
        _panel(canvas, canvas.panel(f"{board.task}, {board.model}"), board, points(results, board))
    return canvas.save(files)


def _panel(canvas: Canvas, axes: Any, board: Board, found: list[Point]) -> None:
    if not found:
        canvas.say(axes, _NOTHING)
        return
    column = next(item for item in board.columns if item.role == "ood")
    scale = 100 if column.unit == "fraction" else 1
    for item in found:
        canvas.point(axes, scale * item.inside, scale * item.shifted, item.label, _COMBINED.get(item.kind))
    # the view is that of the points; the line of equal scores crosses it only where shift costs little
    for take, limit in (("inside", axes.set_xlim), ("shifted", axes.set_ylim)):
        values = [scale * getattr(item, take) for item in found]
        margin = 0.1 * (max(values) - min(values)) or 1.0
        limit(min(values) - margin, max(values) + margin)
    axes.axline((0, 0), slope=1, color="0.7", linewidth=0.8, zorder=0)
    _trend(axes, [scale * item.inside for item in found], [scale * item.shifted for item in found])
    unit = " %" if scale == 100 else ""
    axes.set_xlabel(f"in-domain {column.metric}{unit}", fontsize=9)
    axes.set_ylabel(f"shifted {column.metric}{unit}", fontsize=9)


def _trend(axes: Any, inside: list[float], shifted: list[float]) -> None:
    """The least-squares line through all points, with the share of variance that it explains."""
    import numpy as np

    if len(inside) < 3 or np.ptp(inside) == 0 or np.ptp(shifted) == 0:
        return
    slope, start = np.polyfit(inside, shifted, 1)
    ends = np.array([min(inside), max(inside)])
    axes.plot(ends, start + slope * ends, color="0.4", linewidth=1, linestyle="--", zorder=0)
    explained = float(np.corrcoef(inside, shifted)[0, 1]) ** 2
    axes.annotate(
        f"slope {slope:.2f}, R² {explained:.2f}", (0.03, 0.95), xycoords="axes fraction", fontsize=8, va="top"
    )
