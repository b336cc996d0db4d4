"""The tables `comparisons` and `standings` in print."""

from __future__ import annotations

from ftbench.report.grid import NO_VALUE, Entry, Grid, Title, number
from ftbench.report.leaderboard import Board, method_label
from ftbench.report.results import Record, Results

_SECOND = {
    "permutation": "sign flips",
    "hierarchical": "joint bootstrap",
    "mcnemar": "McNemar",
    "aso": "stochastic order",
}
_COMPARED = (
    Title("set", ""), Title("against", ""), Title("difference", "95 % interval over seeds"), Title("p", "adjusted"),
    Title("effect", "standard deviations"), Title("ahead", "% of runs"),
    Title("detectable", "with these seeds, 80 % power"),
    Title("seeds", "that would show it"), Title("verdict", "of seeds"), Title("other tests", ""),
)  # fmt: skip
_STANDING = (
    Title("sets", "complete / all"), Title("interquartile mean", "chance 0, perfect 100; 95 % interval"),
    Title("mean rank", "critical difference"),
    Title("wins", "% of sets against the baseline"), Title("improvement", "% of runs, 95 % interval"),
    Title("failed", "of runs, 95 % interval"),
)  # fmt: skip


def comparisons_grid(results: Results, board: Board) -> Grid:
    """One row for each method and set of a board, against the baseline."""
    shown = {(column.eval_set, column.metric): column for column in board.columns}
    others: dict[tuple[str, ...], list[str]] = {}
    wanted = []
    for row in results.comparisons:
        if (row["task"], row["model"], row["scope"]) != (board.task, board.model, "baseline"):
            continue
        if (row["eval_set"], row["metric"]) not in shown:
            continue
        if row["primary"]:
            wanted.append(row)
        else:
            others.setdefault(_key(row), []).append(f"{_SECOND[row['test']]}: {row['verdict']}")
    rows = tuple(
        (
            method_label(row["method"], row["variant"]),
            _compared(row, shown[row["eval_set"], row["metric"]].unit, others.get(_key(row), [])),
        )
        for row in wanted
    )
    return Grid(_COMPARED, rows)


def _key(row: Record) -> tuple[str, ...]:
    return tuple(row[name] for name in ("eval_set", "metric", "method", "variant"))


def _compared(row: Record, unit: str, others: list[str]) -> tuple[Entry, ...]:
    span = _span(row["ci_low"], row["ci_high"], unit)
    return (
        Entry(row["eval_set"], row["metric"]),
        Entry(method_label(row["baseline"], row["baseline_variant"])),
        Entry(number(row["difference"], unit, signed=True), span, bold=row["verdict"] == "better"),
        Entry(NO_VALUE if row["p_adjusted"] is None else f"{row['p_adjusted']:.3g}", f"n = {row['n_pairs']}"),
        Entry(NO_VALUE if row["effect_size"] is None else f"{row['effect_size']:.2f}"),
        Entry(number(row["superiority"], "fraction")),
        Entry(number(row["detectable"], unit)),
        Entry(NO_VALUE if row["seeds_needed"] is None else str(row["seeds_needed"])),
        Entry(row["verdict"]),
        Entry("", "; ".join(others)),
    )


def standings_grid(results: Results, model: str, role: str, metric: str) -> Grid:
    """One row for each method over all tasks and sets of a role."""
    rows = [row for row in results.standings if (row["model"], row["role"], row["metric"]) == (model, role, metric)]
    return Grid(_STANDING, tuple((method_label(row["method"], row["variant"]), _standing(row)) for row in rows))


def _standing(row: Record) -> tuple[Entry, ...]:
    rank = NO_VALUE if row["mean_rank"] is None else f"{row['mean_rank']:.2f}"
    apart = "" if row["critical_difference"] is None else f"{row['critical_difference']:.2f}"
    return (
        Entry(str(row["n_complete"]), f"of {row['n_sets']}"),
        Entry(number(row["iqm"], "fraction"), _scaled(row)),
        Entry(rank, apart),
        Entry(number(row["win_rate"], "fraction")),
        Entry(
            number(row["improvement"], "fraction"), _span(row["improvement_low"], row["improvement_high"], "fraction")
        ),
        Entry(
            f"{row['n_failed']}", f"of {row['n_runs']}; {_span(row['failed_low'], row['failed_high'], 'fraction')} %"
        ),
    )


def _scaled(row: Record) -> str:
    """The interval of the interquartile mean; where chance is not known, scores are as they are."""
    span = _span(row["iqm_low"], row["iqm_high"], "fraction")
    return f"{span}; chance not known" if span and row["scale"] == "raw" else span


def _span(low: float | None, high: float | None, unit: str) -> str:
    return "" if low is None or high is None else f"{number(low, unit)} to {number(high, unit)}"
