"""New task against prior task: a grid of what each method reaches, keeps and damages, and a figure of both.

Called by the stage `report`; every number comes from the tables `pareto` and `rehearsal_trace`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftbench.report.canvas import Canvas
from ftbench.report.grid import NO_VALUE, Entry, Grid, Title, number
from ftbench.report.leaderboard import mean_of_all, method_label, method_labels
from ftbench.report.results import Record, Results

_SHOWN = ("collateral_damage", "forget_rate", "positive_transfer")


def forgetting_grid(results: Results, task: str, model: str) -> Grid:
    """Methods by what they reach on the new task, what is left of the prior one, and what was damaged."""
    rows = [row for row in results.pareto if (row["task"], row["model"]) == (task, model)]
    titles = (
        Title("new task", "in-domain score; bold: on the front", "new"),
        Title("prior task", "score, and change", "prior"),
        Title("cost", "rows a run: new, rehearsed, a third of those only passed forward", "rows"),
        Title("damage", "right before, wrong now; % of all rows", "CD"),
        Title("forget rate", "% of the rows right before", "FR"),
        Title("transfer", "wrong before, right now; % of all rows", "PT"),
        Title("at the baseline's new score", "prior score between the method's variants", "matched"),
        Title("hypervolume", "area above chance and the baseline's prior score, in thousandths", "area"),
    )
    return Grid(titles, tuple((method_label(row["method"], row["variant"]), _entries(row)) for row in rows))


def _entries(row: Record) -> tuple[Entry, ...]:
    change = ""
    if row["prior_value"] is not None and row["prior_before"] is not None:
        change = f"{number(row['prior_value'] - row['prior_before'], 'fraction', signed=True)} against before"
    area = row["hypervolume"]
    return (
        Entry(number(row["new_value"], "fraction"), row["new_metric"], bold=bool(row["on_front"])),
        Entry(number(row["prior_value"], "fraction"), change, bold=bool(row["on_front"])),
        Entry(NO_VALUE if row["charged_rows"] is None else f"{row['charged_rows']:,.0f}"),
        *(Entry(number(row[name], "fraction")) for name in _SHOWN),
        Entry(number(row["prior_at_match"], "fraction")),
        Entry(NO_VALUE if area is None else f"{1000 * area:.1f}"),
    )


def damage(results: Results, files: Sequence[Path]) -> bool:
    """For each task and model the means of the methods with their front, and the estimated damage of bins."""
    places = list(dict.fromkeys((row["task"], row["model"]) for row in results.pareto)) or [("", "")]
    canvas = Canvas(2 * len(places), method_labels(results.study))
    for place in places:
        title = ", ".join(place)
        walked = [row for row in results.paths if (row["task"], row["model"]) == place and row["first"] == "start"]
        _front(canvas, title, [row for row in results.pareto if (row["task"], row["model"]) == place], walked)
        _bins(canvas, title, [row for row in results.rehearsal_trace if (row["task"], row["model"]) == place])
    return canvas.save(files)


def wise_lines(walked: list[Record]) -> dict[str, list[tuple[float, float]]]:
    """Lines from start to mean (WiSE-FT), by path: new score (mean of the in-domain sets) and prior score of each
    point, from the start on. Paths without both are left out; `walked` holds rows of the table `paths`."""
    points: dict[str, dict[float, dict[str, list[float | None]]]] = {}
    for row in walked:
        place = points.setdefault(row["path_id"], {}).setdefault(row["position"], {"id": [], "prior": []})
        if row["role"] in place:
            place[row["role"]].append(row["score"])
    found: dict[str, list[tuple[float, float]]] = {}
    for path, line in points.items():
        for _, values in sorted(line.items()):
            means = [mean_of_all(values[role], max(1, len(values[role]))) for role in ("id", "prior")]
            if means[0] is not None and means[1] is not None:
                found.setdefault(path, []).append((means[0], means[1]))
    return found


def _front(canvas: Canvas, title: str, rows: list[Record], walked: list[Record]) -> None:
    axes = canvas.panel(title)
    shown = [row for row in rows if row["on_front"] is not None]
    if not shown:
        canvas.say(axes, "no method has scores on both the new and the prior task")
        return
    for row in shown:
        label = method_label(row["method"], row["variant"])
        canvas.point(axes, 100 * row["new_value"], 100 * row["prior_value"], label)
    front = sorted((100 * row["new_value"], 100 * row["prior_value"]) for row in shown if row["on_front"])
    axes.plot([x for x, _ in front], [y for _, y in front], color="0.6", linewidth=0.9, zorder=0)
    for path, points in wise_lines(walked).items():
        axes.plot([100 * x for x, _ in points], [100 * y for _, y in points], color="0.4", linestyle="--",
                  marker=".", linewidth=0.8, zorder=0)  # fmt: skip
        middle = points[len(points) // 2]
        axes.annotate(f"WiSE-FT, {path.rpartition('/')[2]}", (100 * middle[0], 100 * middle[1]), fontsize=6)
    if shown[0]["prior_before"] is not None:
        axes.axhline(100 * shown[0]["prior_before"], color="0.6", linestyle=":", linewidth=0.9)
    axes.set_xlabel(f"new task, {shown[0]['new_metric']} %", fontsize=9)
    axes.set_ylabel(f"prior task, {shown[0]['prior_metric']} %", fontsize=9)


def _bins(canvas: Canvas, title: str, rows: list[Record]) -> None:
    believed = [row for row in rows if row["alpha_hat"] is not None]
    first = (believed[0]["method"], believed[0]["variant"]) if believed else ("", "")
    axes: Any = canvas.panel(f"{title}: {method_label(*first)}" if believed else title)
    if not believed:
        canvas.say(axes, "no run estimates the damage of bins")
        return
    chosen = [row for row in believed if (row["method"], row["variant"]) == first]
    names = sorted({row["bin"] for row in chosen})
    for place, name in enumerate(names):
        steps: dict[int, list[float]] = {}
        for row in chosen:
            if row["bin"] == name:
                steps.setdefault(row["step"], []).append(row["alpha_hat"])
        # from light to dark in the order of the bins, which is that of the prior loss
        grey = str(round(0.75 * (1 - place / max(1, len(names) - 1)), 3))
        means = [100 * sum(steps[step]) / len(steps[step]) for step in sorted(steps)]
        axes.plot(sorted(steps), means, color=grey, linewidth=1.1)
        axes.annotate(name, (max(steps), means[-1]), fontsize=6, va="center")
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("estimated damage, % of the bin", fontsize=9)
