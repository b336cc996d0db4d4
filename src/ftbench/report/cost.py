"""What each method costs: time, memory, parameters and size, as means over its runs.

Used by the page and the terminal. As with scores, a mean exists only where every seed has the number;
memory is the allocator's on an accelerator and the process's elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from ftbench.report.grid import NO_VALUE, Entry, Grid, Title
from ftbench.report.leaderboard import mean_of_all, method_label
from ftbench.report.results import Record, Results

_MEBIBYTE = 2**20

TITLES = (
    Title("training", "s a run"),
    Title("charged rows", "new, rehearsed, a third of those only passed forward"),
    Title("throughput", "rows/s"),
    Title("peak memory", "MiB"),
    Title("trainable", "parameters"),
    Title("of all", "% of the parameters"),
    Title("shipped", "MiB a run"),
)


@dataclass(frozen=True)
class Cost:
    """Means over the seeds of one task, model, method and variant."""

    task: str
    model: str
    label: str
    seconds: float | None
    charged_rows: float | None
    rows_per_second: float | None
    memory_bytes: float | None
    trainable: float | None
    total: float | None
    shipped_bytes: float | None


def costs(results: Results, task: str, model: str) -> list[Cost]:
    """One row for each method and variant of a task and model, in the order of the study."""
    study = results.study
    found = []
    for method in study.methods:
        for variant in study.variants(method):
            runs = [
                row
                for row in results.runs
                if (row["task"], row["model"], row["method"], row["variant"]) == (task, model, method, variant)
                and row["status"] in ("success", "collapsed")
            ]
            found.append(_cost(task, model, method_label(method, variant), runs, len(study.seeds)))
    return found


def _cost(task: str, model: str, label: str, runs: list[Record], expected: int) -> Cost:
    columns = (
        "train_seconds",
        "charged_rows",
        "examples_per_second",
        "peak_memory_bytes",
        "trainable_parameters",
        "total_parameters",
        "checkpoint_bytes",
    )
    return Cost(task, model, label, *(mean_of_all([row[column] for row in runs], expected) for column in columns))


def cost_grid(rows: list[Cost]) -> Grid:
    """The costs in print."""
    return Grid(TITLES, tuple((row.label, _entries(row)) for row in rows))


def _entries(row: Cost) -> tuple[Entry, ...]:
    share = None if row.trainable is None or not row.total else 100 * row.trainable / row.total
    return (
        Entry(_print(row.seconds, "{:.1f}")),
        Entry(_print(row.charged_rows, "{:,.0f}")),
        Entry(_print(row.rows_per_second, "{:.0f}")),
        Entry(_print(row.memory_bytes, "{:.0f}", _MEBIBYTE)),
        Entry(_print(row.trainable, "{:,.0f}")),
        Entry(_print(share, "{:.2f}")),
        Entry(_print(row.shipped_bytes, "{:.2f}", _MEBIBYTE)),
    )


def _print(value: float | None, pattern: str, divisor: float = 1.0) -> str:
    return NO_VALUE if value is None else pattern.format(value / divisor)
