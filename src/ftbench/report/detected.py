"""How well rows from outside the task are told: a grid of scores for each outside set, and a figure of AUROC by score.

Called by the stage `report` and its page; every number comes from the table `detection`. A method without all its seeds
has no mean, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftbench.report.canvas import Canvas
from ftbench.report.grid import NO_VALUE, Entry, Grid, Title, number
from ftbench.report.leaderboard import Board, method_labels
from ftbench.report.members import Mean, mean_over, members
from ftbench.report.results import Record, Results

_MOST_PANELS = 24
_LANGUAGE_MODEL = "language model"  # scores that no classifier gave
Found = dict[str, list[tuple[str, list[str]]]]


def outside_sets(results: Results, board: Board) -> list[tuple[str, str]]:
    """The sets of a board that stand for the task and for the outside, pair by pair."""
    return list(dict.fromkeys((row["id_set"], row["ood_set"]) for row in _own(results, board)))


def _own(results: Results, board: Board) -> list[Record]:
    """The rows of a board; language models that nobody fine-tunes, and so have no board, stand on all of their task."""
    models = set(results.study.models)
    return [
        row
        for row in results.detection
        if row["task"] == board.task and (row["model"] == board.model or row["model"] not in models)
    ]


def _scores(results: Results, board: Board, outside: str) -> list[str]:
    """Names of the scores, those of classifiers in the order of the study first."""
    found = dict.fromkeys(row["score"] for row in _own(results, board) if row["ood_set"] == outside)
    wanted = results.study.detection.scores if results.study.detection else []
    return [*(name for name in wanted if name in found), *(name for name in found if name not in wanted)]


def _owners(results: Results, board: Board, outside: str) -> list[tuple[str, list[str]]]:
    """Label and artifacts of every row of the grid: methods, soups and ensembles, then language models."""
    rows = [row for row in _own(results, board) if row["ood_set"] == outside]
    known = {row["artifact_id"] for row in rows}
    found = [(row.label, members(results, board, row)) for row in (*board.rows, *board.soups)]
    kept = [(label, owners) for label, owners in found if known & set(owners)]
    others = {row["artifact_id"]: row["model"] for row in rows if row["artifact_kind"] == "language_model"}
    named = {other: "" if model == board.model else f" {model}" for other, model in others.items()}
    return [*kept, *((f"{_LANGUAGE_MODEL}{name}", [other]) for other, name in named.items())]


def _over(rows: dict[Any, Record], owners: Sequence[str], outside: str, score: str, column: str) -> Mean:
    return mean_over([rows.get((owner, outside, score), {}).get(column) for owner in owners], len(owners))


def _by_key(results: Results, board: Board) -> dict[Any, Record]:
    return {(row["artifact_id"], row["ood_set"], row["score"]): row for row in _own(results, board)}


def detection_grid(results: Results, board: Board, outside: str) -> Grid:
    """Methods and soups by score: AUROC, and below it FPR95 and both average precisions."""
    scores, rows = _scores(results, board, outside), _by_key(results, board)
    titles = tuple(Title(name, "AUROC %") for name in scores)
    shown = [
        (label, tuple(_cell(rows, owners, outside, name) for name in scores))
        for label, owners in _owners(results, board, outside)
    ]
    return Grid(titles, tuple(shown))


def _cell(rows: dict[Any, Record], owners: Sequence[str], outside: str, score: str) -> Entry:
    if not any((owner, outside, score) in rows for owner in owners):
        return Entry("")  # not asked for: an ensemble has no layer, a language model one score
    mean = _over(rows, owners, outside, score, "auroc")
    if mean.value is None:
        return Entry(NO_VALUE)
    notes = [] if mean.reach is None else [f"± {number(mean.reach, 'fraction')}"]
    for name, column in (("FPR95", "fpr95"), ("AUPR out", "aupr_out"), ("in", "aupr_in")):
        notes.append(f"{name} {number(_over(rows, owners, outside, score, column).value, 'fraction')}")
    return Entry(number(mean.value, "fraction"), "; ".join(notes))


def draw_detection(results: Results, boards: Sequence[Board], files: Sequence[Path]) -> bool:
    """One panel for each task, model and outside set: mean AUROC of each score with its 95 % t interval over seeds, a
    column of points a score. Returns whether there is anything to see."""
    panels = [(board, *pair) for board in boards for pair in outside_sets(results, board)][:_MOST_PANELS]
    canvas = Canvas(max(1, len(panels)), method_labels(results.study))
    if not panels:
        canvas.say(canvas.panel(""), "the study tells no rows from outside, or no job of it has ended")
    for board, inside, outside in panels:
        where = f"{board.task}, {board.model}: " if len(boards) > 1 else ""
        _panel(canvas, canvas.panel(f"{where}{outside} outside {inside}"), results, board, outside)
    return canvas.save(files)


def _panel(canvas: Canvas, axes: Any, results: Results, board: Board, outside: str) -> None:
    rows, scores = _by_key(results, board), _scores(results, board, outside)
    owners = _owners(results, board, outside)
    seen = False
    for place, (label, artifacts) in enumerate(owners):
        aside = 0.7 * ((place + 0.5) / len(owners) - 0.5)  # side by side, within the column of the score
        for column, score in enumerate(scores):
            mean = _over(rows, artifacts, outside, score, "auroc")
            if mean.value is None:
                continue
            seen = True
            axes.errorbar(
                column + aside, 100 * mean.value, yerr=None if mean.reach is None else 100 * mean.reach,
                color=canvas.colour(label), marker=canvas.marker(label), markersize=5, elinewidth=0.9, alpha=0.85,
            )  # fmt: skip
    if not seen:
        canvas.say(axes, "no method has all scores")
        return
    axes.axhline(50, color="0.7", linewidth=0.8, zorder=0)  # a coin
    axes.set_xticks(range(len(scores)), scores, rotation=30, ha="right", fontsize=8)
    axes.set_ylabel("AUROC %", fontsize=9)
