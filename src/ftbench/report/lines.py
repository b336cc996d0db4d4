"""The figure and the table of paths: what lies on the lines between models.

Called by the page of the report where a study has paths. Draws with matplotlib into memory.
"""

from __future__ import annotations

import io
from typing import Any

from ftbench.report.grid import NO_VALUE, Entry, Grid, Title
from ftbench.report.results import Record, Results

_PANELS_A_ROW = 3
_LIGHT = "#0072B2"


def _panels(results: Results) -> dict[tuple[str, str], dict[tuple[str, str], list[Record]]]:
    """Points by path and set, then by line, in the order of their positions."""
    panels: dict[tuple[str, str], dict[tuple[str, str], list[Record]]] = {}
    for point in results.paths:
        lines = panels.setdefault((point["path_id"], point["eval_set"]), {})
        lines.setdefault((point["first"], point["second"]), []).append(point)
    for lines in panels.values():
        for points in lines.values():
            points.sort(key=lambda point: float(point["position"]))
    return panels


def draw_paths(results: Results) -> bytes:
    """One panel for each path and set, as PNG: the loss along each line, or the score where there is no loss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(results)
    columns = min(_PANELS_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(0.8 + 4.0 * columns, 0.4 + 3.2 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for number, ((path, eval_set), lines) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set_title(f"{path.rpartition('/')[2]}, {eval_set}", fontsize=9)
        _panel(axes, lines)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _panel(axes: Any, lines: dict[tuple[str, str], list[Record]]) -> None:
    key = "loss" if all(point["loss"] is not None for points in lines.values() for point in points) else "score"
    for (first, _), points in lines.items():
        start = first == "start"
        axes.plot(
            [point["position"] for point in points],
            [point[key] for point in points],
            color="black" if start else _LIGHT,
            linestyle="--" if start else "-",
            marker=".",
            alpha=0.8,
        )
    axes.set_xlabel("position", fontsize=8)
    axes.set_ylabel(key if key == "loss" else next(iter(lines.values()))[0]["metric"], fontsize=8)
    axes.grid(color="0.92")
    axes.tick_params(labelsize=7)


def barriers_grid(results: Results) -> Grid:
    """One row for each path, line and set."""
    titles = (Title("set", ""), Title("loss barrier", ""), Title("score barrier", ""), Title("rows", ""))
    rows = []
    for row in results.barriers:
        label = f"{row['path_id'].rpartition('/')[2]}: {_end(row['first'])} to {_end(row['second'])}"
        numbers = [NO_VALUE if row[key] is None else f"{row[key]:.3f}" for key in ("loss_barrier", "score_barrier")]
        rows.append((label, (Entry(row["eval_set"]), *map(Entry, numbers), Entry(str(row["n"])))))
    return Grid(titles, tuple(rows))


def _end(name: str) -> str:
    """A run by what follows task and model in its id."""
    return name.split("/", 3)[-1]
