"""The figure of the report: scores under shift against scores in domain.

Called by the stage `report`; draws with matplotlib into a file and shows nothing on a screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftbench.report.leaderboard import Board, EvaluationColumn, mean_of_all, method_label
from ftbench.report.results import Results

# Okabe and Ito's colours, which stay apart for colour-blind readers
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_PANELS_A_ROW = 3
_NOTHING = "no run has scores both in domain and under shift"


@dataclass(frozen=True)
class Point:
    """One artifact: mean score over the in-domain sets and over the shifted sets."""

    label: str
    kind: str
    inside: float
    shifted: float


def points(results: Results, board: Board) -> list[Point]:
    """Runs and soups of a board that have all scores of both roles; others are left out, never filled in."""
    wanted = {role: [column for column in board.columns if column.role == role] for role in ("id", "ood")}
    if not wanted["id"] or not wanted["ood"]:
        return []
    scores = {(row["artifact_id"], row["eval_set"], row["metric"]): row["value"] for row in results.metrics}
    artifacts = {
        row["artifact_id"]: row
        for row in results.metrics
        if (row["task"], row["model"]) == (board.task, board.model) and row["artifact_kind"] in ("run", "soup")
    }
    found = []
    for artifact, row in artifacts.items():
        inside, shifted = (_mean(scores, artifact, wanted[role]) for role in ("id", "ood"))
        if inside is not None and shifted is not None:
            label = method_label(row["method"], row["variant"])
            found.append(Point(label, row["artifact_kind"], inside, shifted))
    return found


def _mean(scores: dict[Any, float | None], artifact: str, columns: Sequence[EvaluationColumn]) -> float | None:
    return mean_of_all([scores.get((artifact, item.eval_set, item.metric)) for item in columns], len(columns))


def draw(results: Results, boards: list[Board], path: Path) -> None:
    """One panel for each task and model; one point a run, a star a soup. Without points the panel says so."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_PANELS_A_ROW, len(boards))
    lines = -(-len(boards) // columns)
    figure = Figure(figsize=(0.8 + 4.2 * columns, 0.6 + 3.8 * lines), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    styles: dict[str, int] = {}
    for number, board in enumerate(boards):
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.set_title(f"{board.task}, {board.model}", fontsize=10)
        _panel(axes, board, points(results, board), styles)
    handles = {
        name: axes.plot([], [], linestyle="", marker=marker(number), color=colour(number))[0]
        for name, number in styles.items()
    }
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4, fontsize=8)
    # without the version of matplotlib in it, equal tables give equal bytes
    figure.savefig(path, format="png", metadata={"Software": None})


def _panel(axes: Any, board: Board, found: list[Point], styles: dict[str, int]) -> None:
    if not found:
        axes.text(0.5, 0.5, _NOTHING, ha="center", va="center", transform=axes.transAxes, fontsize=8, wrap=True)
        axes.set_axis_off()
        return
    column = next(item for item in board.columns if item.role == "ood")
    scale = 100 if column.unit == "fraction" else 1
    for item in found:
        number = styles.setdefault(item.label, len(styles))
        axes.plot(
            scale * item.inside,
            scale * item.shifted,
            linestyle="",
            marker="*" if item.kind == "soup" else marker(number),
            markersize=10 if item.kind == "soup" else 5,
            color=colour(number),
            alpha=0.8,
        )
    low = scale * min(min(item.inside, item.shifted) for item in found)
    high = scale * max(max(item.inside, item.shifted) for item in found)
    axes.plot([low, high], [low, high], color="0.7", linewidth=0.8, zorder=0)
    unit = " %" if scale == 100 else ""
    axes.set_xlabel(f"in-domain {column.metric}{unit}", fontsize=9)
    axes.set_ylabel(f"shifted {column.metric}{unit}", fontsize=9)
    axes.grid(color="0.92")
    axes.tick_params(labelsize=8)


def colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def marker(number: int) -> str:
    return _MARKERS[(number // len(_COLOURS) + number) % len(_MARKERS)]
