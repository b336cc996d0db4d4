"""Which artifacts stand behind a row of a board, and what a number of theirs comes to over all of them.

The sections of the report on calibration and on rows from outside look their rows up here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftbench import matrix
from ftbench.report.leaderboard import Board, Row, family_label, half_interval, mean_of_all
from ftbench.report.results import Results


def members(results: Results, board: Board, row: Row) -> list[str]:
    """The runs of a method over its seeds, or the one soup, ensemble or base model."""
    study = results.study
    if row.kind == "run":
        place = (board.task, board.model, str(row.method), str(row.variant))
        return [matrix.Run(*place, seed).artifact for seed in study.seeds]
    if row.kind == "base":
        return [matrix.Base(board.task, board.model).artifact]
    cells: list[matrix.FamilyCell] = [*(matrix.soups(study) if row.kind == "soup" else matrix.ensembles(study))]
    return [
        cell.artifact
        for cell in cells
        if (cell.task, cell.model) == (board.task, board.model)
        and row.label == f"{cell.family} of {family_label(cell.method, cell.variant)}"
    ]


@dataclass(frozen=True)
class Mean:
    """The mean over all members, null unless each has a value; `reach` is half its 95 % t interval over seeds, null for
    fewer than two members."""

    value: float | None
    reach: float | None


def mean_over(values: Sequence[float | None], expected: int) -> Mean:
    """`values` of the members, in any order; `expected` is how many there are."""
    mean = mean_of_all(values, expected)
    return Mean(mean, None if mean is None else half_interval([value for value in values if value is not None]))
