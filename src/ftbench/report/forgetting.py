"""What a study says about forgetting: a grid of new task against prior task, and the figure of both and of the bins.

Called by the stage `report`; nothing here when the study has no prior task, but a figure that says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftbench.report.figures import colour, marker
from ftbench.report.grid import NO_VALUE, Entry, Grid, Title, number
from ftbench.report.leaderboard import method_label
from ftbench.report.results import Record, Results

_SHOWN = ("collateral_damage", "forget_rate", "positive_transfer")


def forgetting_grid(results: Results, task: str, model: str) -> Grid:
    """Methods by what they reach on the new task, what is left of the prior one, and what was damaged."""
    rows = [row for row in results.pareto if (row["task"], row["model"]) == (task, model)]
    titles = (
        Title("new task", "in-domain score", "new"),
        Title("prior task", "score, and change", "prior"),
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
        *(Entry(number(row[name], "fraction")) for name in _SHOWN),
        Entry(number(row["prior_at_match"], "fraction")),
        Entry(NO_VALUE if area is None else f"{1000 * area:.1f}"),
    )


def draw_forgetting(results: Results, path: Path) -> None:
    """Left the means of the methods, the front joined by a line; right the share of draws of each bin over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = sorted({(row["task"], row["model"]) for row in results.pareto}) or [("", "")]
    figure = Figure(figsize=(9.2, 0.4 + 3.9 * len(places)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for line, place in enumerate(places):
        left, right = (figure.add_subplot(len(places), 2, 2 * line + side) for side in (1, 2))
        _front(left, [row for row in results.pareto if (row["task"], row["model"]) == place], place)
        _bins(right, [row for row in results.rehearsal_trace if (row["task"], row["model"]) == place])
    figure.savefig(path, format="png", metadata={"Software": None})


def _nothing(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=8, wrap=True)
    axes.set_axis_off()


def _front(axes: Any, rows: list[Record], place: tuple[str, str]) -> None:
    points = [row for row in rows if row["on_front"] is not None]
    if not points:
        _nothing(axes, "no method has scores on both the new and the prior task")
        return
    for position, row in enumerate(points):
        axes.plot(100 * row["new_value"], 100 * row["prior_value"], linestyle="", marker=marker(position),
                  color=colour(position), markersize=7, label=method_label(row["method"], row["variant"]))  # fmt: skip
    front = sorted((100 * row["new_value"], 100 * row["prior_value"]) for row in points if row["on_front"])
    axes.plot([x for x, _ in front], [y for _, y in front], color="0.6", linewidth=0.9, zorder=0)
    before = points[0]["prior_before"]
    if before is not None:
        axes.axhline(100 * before, color="0.8", linestyle=":", linewidth=0.9)
    axes.set_title(", ".join(place), fontsize=10)
    axes.set_xlabel(f"new task, {points[0]['new_metric']} %", fontsize=9)
    axes.set_ylabel(f"prior task, {points[0]['prior_metric']} % (dotted: before)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7)


def _bins(axes: Any, rows: list[Record]) -> None:
    believed = [row for row in rows if row["alpha_hat"] is not None]
    if not believed:
        _nothing(axes, "no run estimates the damage of bins")
        return
    first = (believed[0]["method"], believed[0]["variant"])
    chosen = [row for row in believed if (row["method"], row["variant"]) == first]
    for position, name in enumerate(sorted({row["bin"] for row in chosen})):
        steps: dict[int, list[float]] = {}
        for row in chosen:
            if row["bin"] == name:
                steps.setdefault(row["step"], []).append(row["alpha_hat"])
        axes.plot(sorted(steps), [sum(steps[step]) / len(steps[step]) for step in sorted(steps)],
                  color=colour(position), linewidth=1.1, label=name)  # fmt: skip
    axes.set_title(f"{method_label(*first)}: estimated damage by bin, mean over seeds", fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=6, ncols=2)
