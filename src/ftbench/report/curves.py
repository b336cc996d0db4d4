"""Training curves with one line a seed, and the path of each greedy soup.

Called by the stage `report`. Curves come from the logs of the runs, read only where the study's folder is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftbench.paths import StudyPaths
from ftbench.report.canvas import Canvas
from ftbench.report.leaderboard import Board, method_label, method_labels
from ftbench.report.results import Results

# more steps than this are averaged over neighbours: single batches hide the course
_MOST_STEPS = 60


def training_curves(results: Results, boards: list[Board], places: StudyPaths | None, files: Sequence[Path]) -> bool:
    """Loss of each run over its steps, a colour for each method and variant."""
    canvas = Canvas(len(boards), method_labels(results.study))
    for board in boards:
        axes = canvas.panel(f"{board.task}, {board.model}")
        runs = [row for row in results.runs if (row["task"], row["model"]) == (board.task, board.model)]
        drawn = sum(_curve(canvas, axes, places, row) for row in runs) if places else 0
        if not drawn:
            canvas.say(axes, "no logs of training are here")
            continue
        axes.set_xlabel("step", fontsize=9)
        axes.set_ylabel("training loss", fontsize=9)
    return canvas.save(files)


def _curve(canvas: Canvas, axes: Any, places: StudyPaths, row: dict[str, Any]) -> bool:
    from pyarrow import parquet

    cell = {name: row[name] for name in ("task", "model", "method", "variant", "seed")}
    file = places.path("run_log", **cell)
    if row["status"] == "missing" or not file.is_file():
        return False
    table = parquet.ParquetFile(file).read()
    if not {"step", "loss"} <= set(table.column_names) or table.num_rows == 0:
        return False
    steps, losses = _thinned(table.column("step").to_pylist(), table.column("loss").to_pylist())
    name = method_label(row["method"], row["variant"])
    axes.plot(steps, losses, color=canvas.colour(name), linewidth=0.8, alpha=0.7)
    return True


def _thinned(steps: list[float], losses: list[float | None]) -> tuple[list[float], list[float]]:
    """Means of neighbouring steps."""
    import numpy as np

    values = np.array([np.nan if loss is None else loss for loss in losses], dtype=np.float64)
    parts = np.array_split(np.arange(len(steps)), min(len(steps), _MOST_STEPS))
    place = np.array(steps, dtype=np.float64)
    return [float(place[part].mean()) for part in parts], [float(values[part].mean()) for part in parts]


def soup_paths(results: Results, boards: list[Board], files: Sequence[Path]) -> bool:
    """Select score of each soup after every candidate that was tried; a gap is where a candidate was not scored."""
    canvas = Canvas(len(boards))
    tried: dict[str, list[dict[str, Any]]] = {}
    for row in results.soup_ingredients:
        tried.setdefault(row["soup_id"], []).append(row)
    for board in boards:
        axes = canvas.panel(f"{board.task}, {board.model}")
        drawn = 0
        for soup in results.soups:
            steps = sorted(tried.get(soup["soup_id"], []), key=lambda row: row["position"])
            scored = [(row["position"] + 1, row["trial_score"]) for row in steps if row["trial_score"] is not None]
            if (soup["task"], soup["model"]) == (board.task, board.model) and scored:
                name = f"{soup['family']} of {method_label(soup['method'], soup['variant'])}"
                axes.plot(
                    *zip(*scored, strict=True), color=canvas.colour(name), marker=canvas.marker(name), markersize=4,
                    linewidth=0.8,
                )  # fmt: skip
                drawn += 1
        if not drawn:
            canvas.say(axes, "no soup tried its candidates one by one")
            continue
        axes.set_xlabel("candidate", fontsize=9)
        axes.set_ylabel("select score of the soup with it", fontsize=9)
    return canvas.save(files)
