"""Shift and robustness in print: distances, flags and trends in words, a grid of each, and the figure of the trends.

Called by the stage `report` and its page; every number comes from the tables `shift`, `trends` and `robustness`, and
the points of the figure from `metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftbench.report.canvas import Canvas
from ftbench.report.grid import NO_VALUE, Entry, Grid, Title, number
from ftbench.report.leaderboard import Board, family_label, method_label, method_labels
from ftbench.report.results import Record, Results

_FLAGS = {
    "no_challenge": "no challenge: the baseline loses nothing",
    "unclear_loss": "the baseline's loss is not told from none",
    "overlaps_training": "overlaps the training rows",
}
_MOST_PANELS = 24


def shift_grid(results: Results, board: Board) -> Grid:
    """One row for each evaluation set: how far it is from training, what the baseline loses, flags."""
    titles = (
        Title("role", ""), Title("baseline loses", "points against in domain, 95 % interval over seeds"),
        Title("centroid", "cosine of mean embeddings"), Title("told apart", "AUROC of a domain classifier"),
        Title("new words", "% of words that training lacks"), Title("words differ", "divergence, 0 to 1"),
        Title("length", "words a row, training"), Title("labels differ", "% of rows"),
        Title("repeats", "% equal or nearly equal to training rows"), Title("flags", ""),
    )  # fmt: skip
    rows = [row for row in results.shift if (row["task"], row["model"]) == (board.task, board.model)]
    return Grid(titles, tuple((row["eval_set"], _distances(results, row)) for row in rows))


def _distances(results: Results, row: Record) -> tuple[Entry, ...]:
    unit = _unit(results, row["metric"]) if row["metric"] else "fraction"
    lost = Entry(number(row["drop"], unit, signed=True), _span(row["drop_low"], row["drop_high"], unit))
    length = Entry(NO_VALUE)
    if row["words"] is not None:
        length = Entry(f"{row['words']:.1f}", f"training {row['train_words']:.1f}")
    return (
        Entry(row["role"]), lost if row["drop"] is not None else Entry(NO_VALUE), _plain(row["centroid_cosine"]),
        _plain(row["domain_auroc"]), Entry(number(row["oov_share"], "fraction")), _plain(row["word_divergence"]),
        length, Entry(number(row["label_distance"], "fraction")), Entry(number(row["near_share"], "fraction")),
        Entry("; ".join(_FLAGS[flag] for flag in row["flags"])),
    )  # fmt: skip


def _unit(results: Results, metric: str) -> str:
    return next((str(row["unit"]) for row in results.metrics if row["metric"] == metric), "fraction")


def _plain(value: float | None) -> Entry:
    return Entry(NO_VALUE if value is None else f"{value:.3f}")


def _span(low: float | None, high: float | None, unit: str) -> str:
    return "" if low is None or high is None else f"{number(low, unit)} to {number(high, unit)}"


def robustness_grid(results: Results, board: Board) -> Grid:
    """Methods by shifted set: effective robustness, and below it relative robustness and the worst group."""
    own = [row for row in results.robustness if (row["task"], row["model"]) == (board.task, board.model)]
    shifted = [row for row in own if row["role"] in ("ood", "stress")]
    sets = list(dict.fromkeys(row["eval_set"] for row in shifted))
    metric = f"{shifted[0]['metric']}: effective, relative, worst group" if shifted else ""
    rows: dict[str, dict[str, Record]] = {}
    for row in shifted:
        rows.setdefault(method_label(row["method"], row["variant"]), {})[row["eval_set"]] = row
    return Grid(
        tuple(Title(name, metric) for name in sets),
        tuple((label, tuple(_gain(results, cells.get(name)) for name in sets)) for label, cells in rows.items()),
    )


def _gain(results: Results, row: Record | None) -> Entry:
    if row is None:
        return Entry(NO_VALUE)
    unit, notes = _unit(results, row["metric"]), []
    if row["effective_low"] is not None:
        notes.append(_span(row["effective_low"], row["effective_high"], unit))
    if row["extrapolated"]:
        notes.append("outside the family")
    if row["relative"] is not None:
        span = _span(row["relative_low"], row["relative_high"], unit)
        notes.append(f"relative {number(row['relative'], unit, signed=True)}" + (f" ({span})" if span else ""))
    if row["worst_group"]:
        notes.append(f"{row['worst_group']} {number(row['worst_group_value'], 'fraction')}")
    if row["worst_set"]:
        notes.append("its worst set")
    return Entry(number(row["effective"], unit, signed=True), "; ".join(notes))


def in_words(results: Results, task: str) -> list[str]:
    """What the trends of a task's sets say, one sentence a set."""
    found = []
    for row in (row for row in results.trends if row["task"] == task):
        words = f"`{row['eval_set']}`: {_TYPES[row['kind']]}"
        if row["kind"] == "undetermined" and row["reason"]:
            words += f" ({row['reason']})"
        if row["knee"] is not None:
            words += f", knee at {100 * row['knee']:.1f}"
        if row["slope"] is not None:
            words += f"; a point in domain goes with {row['slope']:.2f}"
            words += "" if row["second_slope"] is None else f", beyond the knee with {row['second_slope']:.2f}"
            words += " here"
        if row["effective"] != "ok":
            words += f". No effective robustness: {row['effective_reason']}"
        found.append(words + ".")
    return found


_TYPES = {
    "I": "type I, scores rise with those in domain on one line",
    "II": "type II, scores rise with those in domain, faster beyond a knee",
    "III": "type III, scores first fall and then rise with those in domain",
    "undetermined": "the runs of the family do not show how scores follow those in domain",
}


def draw_trends(results: Results, files: Sequence[Path]) -> bool:
    """One panel for each task and shifted set, both axes in logits of the score; a point a run, and the
    line that says what to expect. Whether there was a point to draw."""
    shown, drawn = results.trends[:_MOST_PANELS], False
    canvas = Canvas(max(1, len(shown)), method_labels(results.study))
    if not shown:
        canvas.say(canvas.panel(""), "no shifted set has a trend")
    for row in shown:
        axes = canvas.panel(f"{row['task']}, {row['eval_set']}: {_short(row['kind'])}")
        points = _points(results, row)
        if not points:
            canvas.say(axes, "no run has scores both in domain and here, or they are no shares")
            continue
        drawn = True
        for label, inside, value in points:
            canvas.point(axes, _logit(inside), _logit(value), label)
        if row["logit_slope"] is not None:
            ends = [_logit(row["id_low"]), _logit(row["id_high"])]
            line = [row["logit_intercept"] + row["logit_slope"] * end for end in ends]
            axes.plot(ends, line, color="0.4", linewidth=1, linestyle="--", zorder=0)
            text = f"b {row['logit_slope']:.2f}, R² {row['logit_r_squared']:.2f}"
            axes.annotate(text, (0.03, 0.95), xycoords="axes fraction", fontsize=8, va="top")
        for axis, values in (
            (axes.xaxis, [point[1] for point in points]), (axes.yaxis, [point[2] for point in points]),
        ):  # fmt: skip
            _percent(axis, values)
        axes.set_xlabel(f"in-domain {row['metric']} %, logit scale", fontsize=9)
        axes.set_ylabel(f"{row['metric']} %, logit scale", fontsize=9)
    canvas.save(files)
    return drawn


def _short(kind: str) -> str:
    return kind if kind == "undetermined" else f"type {kind}"


def _points(results: Results, trend: Record) -> list[tuple[str, float, float]]:
    """Label, in-domain and shifted score of every run of a task; none where a score is no share."""
    inside_sets = [name for name, one in results.study.tasks[trend["task"]].evaluate.items() if one.role == "id"]
    if _unit(results, trend["metric"]) != "fraction":
        return []
    runs: dict[str, dict[str, float]] = {}
    about: dict[str, Record] = {}
    for row in results.metrics:
        wanted = (row["task"], row["metric"], row["artifact_kind"]) == (trend["task"], trend["metric"], "run")
        if wanted and row["value"] is not None and row["eval_set"] in (*inside_sets, trend["eval_set"]):
            runs.setdefault(row["artifact_id"], {})[row["eval_set"]] = row["value"]
            about[row["artifact_id"]] = row
    return [
        (
            family_label(about[run]["method"], about[run]["variant"]),
            sum(values[name] for name in inside_sets) / len(inside_sets),
            values[trend["eval_set"]],
        )
        for run, values in runs.items()
        if inside_sets and len(values) == len({*inside_sets, trend["eval_set"]})
    ]


def _logit(value: float) -> float:
    """Clipped, so that a run without an error has a place."""
    clipped = min(max(value, 1e-3), 1 - 1e-3)
    return math.log(clipped / (1 - clipped))


def _percent(axis: Any, values: Sequence[float]) -> None:
    """Ticks in percent at round scores within the points."""
    low, high = min(values), max(values)
    for step in (0.01, 0.02, 0.05, 0.1, 0.2):
        ticks = [number * step for number in range(1, round(1 / step)) if low - step < number * step < high + step]
        if len(ticks) <= 7:
            break
    axis.set_ticks([_logit(tick) for tick in ticks], [f"{100 * tick:.0f}" for tick in ticks])
