"""The page `index.html`: one file without outside references, readable in light, in dark and on paper.

Called by the stage `report`. It lays out what the other modules of the report computed; every text that comes
from a study or a log is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

from ftbench.report.attacked import attacked_grid, attacked_places
from ftbench.report.calibrated import calibration_grid
from ftbench.report.captions import CAPTIONS
from ftbench.report.cells import cell_anchor
from ftbench.report.comparison_grid import comparisons_grid, standings_grid
from ftbench.report.cost import cost_grid, costs
from ftbench.report.coverage import Coverage, coverage
from ftbench.report.damage import forgetting_grid
from ftbench.report.detected import detection_grid, outside_sets
from ftbench.report.grid import ROLES, methods_grid, soups_grid
from ftbench.report.html import FILTER, document, figure, heading, navigation, prose, table
from ftbench.report.leaderboard import Board
from ftbench.report.lines import barriers_grid, draw_paths
from ftbench.report.notes import reading_notes, verdicts_in_words
from ftbench.report.perturbed import perturbed_grid, perturbed_sets
from ftbench.report.results import Results
from ftbench.report.shifted import in_words, robustness_grid, shift_grid


def page(results: Results, boards: list[Board], figures: Mapping[str, Path]) -> str:
    """The HTML text; `figures` are the PNG files that are embedded, by name; others have no section."""
    title = results.study.title or results.name
    sections = [
        "Coverage",
        "Leaderboard",
        "Comparisons",
        "Standings",
        *(item[1] for item in CAPTIONS if item[0] in figures),
        *(["Shift and robustness"] if results.shift else []),
        *(["Temperature scaling"] if _judged(results) else []),
        *(["Rows from outside"] if results.detection else []),
        "Cost",
        "Origin",
    ]
    links = [(section.lower().replace(" ", "-"), section) for section in sections]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(results.study.description)}</p>" if results.study.description else "",
        navigation([*links, ("cells.html", "Runs and examples")]),
        FILTER,
        _coverage(coverage(results)),
        heading("Leaderboard"),
        f"<p>{escape(found)}</p>" if (found := verdicts_in_words(results)) else "",
        *(table(_place(board), "method", methods_grid(board), _links(board)) for board in boards),
        "<ul>" + "".join(f"<li>{prose(note)}</li>" for note in reading_notes(results)) + "</ul>",
        *_soups(boards),
        *_paths(results),
        heading("Comparisons"),
        *_comparisons(results, boards),
        heading("Standings"),
        *_standings(results),
        *(
            f"{heading(name)}\n{figure(file, figures[file], alt, caption)}"
            for file, name, alt, caption in CAPTIONS
            if file in figures
        ),
        *_shifted(results, boards),
        *_damage(results, boards),
        *_perturbed(results, boards),
        *_attacked(results, boards),
        *_calibrated(results, boards),
        *_detected(results, boards),
        heading("Cost"),
        *(table(_place(board), "method", cost_grid(costs(results, board.task, board.model))) for board in boards),
        _provenance(results),
    ]
    return document(title, parts)


def _place(board: Board) -> str:
    return f"{board.task}, {board.model}"


def _links(board: Board) -> dict[str, str]:
    return {row.label: f"cells.html#{cell_anchor(board, row)}" for row in board.rows}


def _coverage(found: Coverage) -> str:
    text = f"{heading('Coverage')}\n<p>{escape(found.sentence())}"
    if found.complete:
        return text + " Nothing is missing.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(gap.stage)}</th><td class="text">{escape(gap.reason)}'
        + "".join(f"<small>{escape(log)}</small>" for log in gap.logs[:1])
        + f'</td><td>{len(gap.artifacts)}</td><td class="text">{escape(gap.named)}</td></tr>\n'
        for gap in found.gaps
    )
    return (
        f'{text}</p>\n<div class="wide"><table><caption>What is missing, and why</caption>\n<thead><tr>'
        '<th scope="col">stage</th><th scope="col" class="text">reason</th><th scope="col">cells</th>'
        f'<th scope="col" class="text">which</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>'
    )


def _soups(boards: list[Board]) -> list[str]:
    tables = [table(_place(board), "soup", soups_grid(board)) for board in boards if board.soups]
    return [heading("Soups"), *tables] if tables else []


def _paths(results: Results) -> list[str]:
    """The figure of the lines between models, and the barriers on them."""
    if not results.paths:
        return []
    data = base64.b64encode(draw_paths(results)).decode()
    return [
        heading("Paths between models"),
        f'<figure><img alt="Loss or score along each line between two models" src="data:image/png;base64,{data}">'
        "<figcaption>Along each line theta = (1 - position) first + position second; from the start of the runs to"
        " their mean in black. A barrier is how far the loss rises above the straight line between its ends."
        "</figcaption></figure>",
        table("barriers", "line", barriers_grid(results)),
    ]


def _damage(results: Results, boards: list[Board]) -> list[str]:
    """New task against prior task, and what was damaged; nothing for a study without a prior task."""
    if not results.pareto:
        return []
    grids = ((_place(board), forgetting_grid(results, board.task, board.model)) for board in boards)
    return [heading("New task against prior task"), *(table(place, "method", grid) for place, grid in grids)]


def _perturbed(results: Results, boards: list[Board]) -> list[str]:
    """Methods by perturbation, a table for each set that is perturbed; nothing for a study without any."""
    tables = [
        table(f"{_place(board)}, {eval_set}", "method", perturbed_grid(results, board, eval_set))
        for board in boards
        for eval_set in perturbed_sets(results, board)
    ]
    return [heading("Under perturbation"), *tables] if tables else []


def _shifted(results: Results, boards: list[Board]) -> list[str]:
    """How far sets are from training, how scores follow, and what holds beyond that."""
    if not results.shift:
        return []
    words = [prose(sentence) for task in results.study.tasks for sentence in in_words(results, task)]
    grids = [(_place(board), shift_grid(results, board), robustness_grid(results, board)) for board in boards]
    return [
        heading("Shift and robustness"),
        *(table(f"{place}: distance from training", "set", distances) for place, distances, _ in grids),
        "<ul>" + "".join(f"<li>{sentence}</li>" for sentence in words) + "</ul>" if words else "",
        *(table(f"{place}: beyond what in-domain scores let expect", "method", gains)
          for place, _, gains in grids if gains.titles),
    ]  # fmt: skip


def _attacked(results: Results, boards: list[Board]) -> list[str]:
    """Accuracy under attack; nothing for a study that attacks nothing."""
    if not results.study.attacks:
        return []
    shown = [board for board in boards if attacked_places(results, board)]
    tables = [table(_place(board), "method", attacked_grid(results, board)) for board in shown]
    return [heading("Accuracy under attack"), *(tables or ["<p>No attack has ended.</p>"])]


def _judged(results: Results) -> bool:
    """Whether there are probabilities whose calibration is known."""
    return any(row["ece"] is not None for row in results.calibration)


def _calibrated(results: Results, boards: list[Board]) -> list[str]:
    """Calibration before and after temperature scaling; nothing for a study without probabilities."""
    if not _judged(results):
        return []
    note = (
        "<p>Calibration error over 15 bins of equal width, and the same after all logits are divided by one temperature"
        " for each run, fitted on its selection rows alone. The error is biased upward in small sets.</p>"
    )
    grids = ((_place(board), calibration_grid(results, board)) for board in boards)
    return [heading("Temperature scaling"), note, *(table(place, "method", grid) for place, grid in grids if grid.rows)]


def _detected(results: Results, boards: list[Board]) -> list[str]:
    """How well each score tells rows from outside, a table for each outside set; nothing where nobody asked."""
    tables = [
        table(f"{_place(board)}: {outside} outside {inside}", "method", detection_grid(results, board, outside))
        for board in boards
        for inside, outside in outside_sets(results, board)
    ]
    return [heading("Rows from outside"), *tables] if tables else []


def _comparisons(results: Results, boards: list[Board]) -> list[str]:
    grids = [(_place(board), comparisons_grid(results, board)) for board in boards]
    tables = [table(place, "method", grid) for place, grid in grids if grid.rows]
    return tables or ["<p>Nothing was compared: the study names no baseline, or nothing is scored.</p>"]


def _standings(results: Results) -> list[str]:
    groups = dict.fromkeys((row["model"], row["role"], row["metric"]) for row in results.standings)
    note = (
        "<p>Ranks and wins are over the sets on which every method has every seed. Methods whose mean ranks are closer"
        " than the critical difference are not told apart.</p>"
    )
    tables = [
        table(f"{model}, {metric} on {ROLES[role]} sets", "method", standings_grid(results, model, role, metric))
        for model, role, metric in groups
    ]
    return [*tables, note] if tables else ["<p>Nothing is scored.</p>"]


def _provenance(results: Results) -> str:
    """What code and devices the runs came from; more than one commit in a table is worth knowing."""
    done = [row for row in results.runs if row["status"] != "missing"]
    commits = sorted({str(row["git_commit"])[:12] for row in done if row["git_commit"]})
    edited = sum(bool(row["git_dirty"]) for row in done)
    devices = sorted({str(row["device"]) for row in done if row["device"]})
    return (
        f"{heading('Origin')}\n<p>Study <code>{escape(results.name)}</code>."
        f" Commits: {escape(', '.join(commits) or 'not recorded')}; {edited} of {len(done)} runs from edited"
        f" files. Devices: {escape(', '.join(devices) or 'not recorded')}.</p>"
    )
