"""Artifacts under attack: a grid of what is left of the accuracy, successes by budget, and what transfers.

Called by the stage `report` and its page; every number comes from the tables of attacks. A method without all its
seeds and attack seeds has no mean, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench import matrix
from ftbench.report.canvas import Canvas
from ftbench.report.grid import NO_VALUE, Entry, Grid, Title, number
from ftbench.report.leaderboard import Board, Row, mean_of_all
from ftbench.report.results import Record, Results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def attacked_places(results: Results, board: Board) -> list[tuple[str, str]]:
    """Attack and set of everything that is attacked on a board, in the order of the study."""
    own = [row for row in results.attack_scores if (row["task"], row["model"]) == (board.task, board.model)]
    there = {(row["attack"], row["eval_set"]) for row in own}
    names = [column.eval_set for column in board.columns]
    return [(attack, name) for attack in results.study.attacks for name in names if (attack, name) in there]


def attacked_grid(results: Results, board: Board) -> Grid:
    """Methods and soups by attack: accuracy before, and for each attack what is left, with success and queries."""
    places = attacked_places(results, board)
    several = len({name for _, name in places}) > 1
    titles = []
    for attack, name in places:
        where = f"{attack}, {name}" if several else attack
        titles.append(Title(where, "accuracy under attack %; success of what was right before; queries", attack))
    rows = []
    for row in (*board.rows, *(one for one in board.soups if one.kind == "soup")):
        entries = tuple(_entry(results, board, row, *place) for place in places)
        if any(entry.text for entry in entries):
            rows.append((row.label, entries))
    return Grid(tuple(titles), tuple(rows))


def _artifacts(results: Results, board: Board, row: Row, attack: str) -> list[str]:
    """The artifacts of a row that the study attacks."""
    if row.kind == "soup":
        wanted = [str(row.details.get("soup_id", ""))]
    else:
        place = (board.task, board.model, str(row.method), str(row.variant))
        wanted = [matrix.Run(*place, seed).artifact for seed in results.study.seeds]
    attacked = {one.target.artifact for one in matrix.attacks(results.study, attack)}
    return [artifact for artifact in wanted if artifact in attacked]


def _entry(results: Results, board: Board, row: Row, attack: str, eval_set: str) -> Entry:
    artifacts = _artifacts(results, board, row, attack)
    if not artifacts:
        return Entry("")  # the study does not attack it
    scores = [
        one
        for one in results.attack_scores
        if one["attack"] == attack and one["eval_set"] == eval_set and one["artifact_id"] in artifacts
    ]
    expected = len(artifacts) * len(matrix.attack_seeds(results.study, attack))
    left, success, before = (
        mean_of_all([one[name] for one in scores], expected)
        for name in ("accuracy_under_attack", "success_rate", "original_accuracy")
    )
    if left is None:
        return Entry(NO_VALUE, f"{len(scores)} of {expected} attacks")
    notes = [f"from {number(before, 'fraction')}", f"success {number(success, 'fraction')}"]
    asked = mean_of_all([one["mean_queries"] for one in scores], expected)
    notes += [] if asked is None else [f"{asked:.0f} queries"]
    verdict = _verdict(results, board, row, attack, eval_set)
    return Entry(number(left, "fraction"), "; ".join([*notes, *verdict]), bold="better" in verdict)


def _verdict(results: Results, board: Board, row: Row, attack: str, eval_set: str) -> list[str]:
    """The verdict of the test over seeds against the baseline."""
    place = {"task": board.task, "model": board.model, "attack": attack, "eval_set": eval_set}
    place |= {"method": str(row.method), "variant": str(row.variant)}
    found = [
        str(test["verdict"])
        for test in results.attack_comparisons
        if test["test"] != "mcnemar" and all(test[key] == value for key, value in place.items())
    ]
    return found if row.kind == "run" else []


def attack_budgets(results: Results, boards: Sequence[Board], files: Sequence[Path]) -> bool:
    """One panel for each task, model, attack and set: share of successes by the queries allowed, a line a method.
    Returns whether there is anything to see."""
    panels = [(board, *place) for board in boards for place in attacked_places(results, board)]
    canvas = Canvas(max(1, len(panels)))
    if not panels:
        canvas.say(canvas.panel(""), "the study attacks nothing, or no attack has ended")
    for board, attack, eval_set in panels:
        where = f"{board.task}, {board.model}: " if len(boards) > 1 else ""
        axes: Any = canvas.panel(f"{where}{attack}, {eval_set}")
        for row in (*board.rows, *(one for one in board.soups if one.kind == "soup")):
            artifacts = _artifacts(results, board, row, attack)
            if artifacts:
                _budget_line(canvas, axes, row.label, *_asked(results, artifacts, attack, eval_set))
        axes.set_xlabel("queries for an example, at most", fontsize=9)
        axes.set_ylabel("success %", fontsize=9)
        axes.set_ylim(0, 100)
    return canvas.save(files)


def _asked(results: Results, artifacts: list[str], attack: str, eval_set: str) -> tuple[NDArray[np.int64], int]:
    """Queries of the successes, ascending, and how many examples were right before."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    table = results.attacks
    for name, wanted in (("attack", [attack]), ("eval_set", [eval_set]), ("artifact_id", artifacts)):
        table = table.filter(compute.is_in(table.column(name), pa.array(wanted, pa.string())))
    table = table.filter(compute.equal(table.column("gold"), table.column("pred_before")))
    success = table.filter(compute.equal(table.column("status"), "success"))
    return np.sort(success.column("queries").to_numpy()), table.num_rows


def _budget_line(canvas: Canvas, axes: Any, label: str, queries: NDArray[np.int64], right: int) -> None:
    if not right or not len(queries):
        return
    shares = [100 * (place + 1) / right for place in range(len(queries))]
    axes.step(
        [0, *queries.tolist()], [0.0, *shares], where="post", color=canvas.colour(label), linewidth=1.2,
        marker=canvas.marker(label), markevery=[len(queries)], markersize=4,
    )  # fmt: skip


def transfer_matrix(results: Results, files: Sequence[Path]) -> bool:
    """One panel for each task and attack: of the texts that fooled the row's method, the share that fools the column's
    among examples it has right. Artifacts of one method are pooled, each source never against itself. Returns whether
    there is anything to see."""
    places = list(dict.fromkeys((row["task"], row["attack"]) for row in results.transfer))
    canvas = Canvas(max(1, len(places)))
    if not places:
        canvas.say(canvas.panel(""), "the study passes no attacked texts on to other artifacts")
    for task, attack in places:
        rows = [row for row in results.transfer if (row["task"], row["attack"]) == (task, attack)]
        _matrix(canvas.panel(f"{task}: {attack}"), rows)
    return canvas.save(files)


def _matrix(axes: Any, rows: list[Record]) -> None:
    import numpy as np

    names = list(dict.fromkeys([_short(row["source"]) for row in rows] + [_short(row["target"]) for row in rows]))
    fooled, tried = np.zeros((2, len(names), len(names)))
    for row in rows:
        place = names.index(_short(row["source"])), names.index(_short(row["target"]))
        fooled[place] += row["fooled"]
        tried[place] += row["n"]
    shares = np.where(tried > 0, 100 * fooled / np.maximum(tried, 1), np.nan)
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (source, target), share in np.ndenumerate(shares):
        if np.isfinite(share):
            colour = "white" if share > 60 else "black"
            axes.text(target, source, f"{share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("asked", fontsize=9)
    axes.set_ylabel("fooled first", fontsize=9)


def _short(artifact: str) -> str:
    """A run by model and method, without its seed; a soup by its name."""
    kind, _, model, *rest = artifact.split("/")
    named = [part for part in rest[:2] if part != "default"] if kind == "runs" else rest
    return " ".join([model, *named])
