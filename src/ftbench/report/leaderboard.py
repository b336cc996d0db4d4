"""The leaderboard: one board for each task and model, the same numbers for every form of output.

The page, Markdown, LaTeX and the terminal all take their rows from `boards`. A mean exists only where every
seed of the study has a score; it is never taken over the seeds that happen to be there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ftbench import matrix
from ftbench.comparing.scores import leading
from ftbench.config.study import Study
from ftbench.report.results import Record, Results
from ftbench.statistics.baseline import baseline_of


@dataclass(frozen=True)
class EvaluationColumn:
    """A set of a board, with the metric that it shows."""

    eval_set: str
    role: str
    metric: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class Cell:
    """A score on one set. `mean` is null unless all `expected` scores are there.

    `low` and `high` are the lowest and highest seed of a method, and the interval over examples of a soup or
    base model. `reach` is half the 95 % t interval of the mean over seeds. `change` is the mean minus the score of
    the model before fine-tuning, on prior sets.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    expected: int
    verdict: str | None = None
    change: float | None = None
    reach: float | None = None


@dataclass(frozen=True)
class Row:
    """A method and variant over its seeds (`run`), a `soup`, an `ensemble`, or the `base` model; cells in the order
    of the columns.

    `shifted` is the mean over the ood sets, null with fewer than two of them or where one is null.
    `details` is the row of the table `soups`; of an ensemble it holds `n_candidates` alone.
    """

    kind: str
    label: str
    method: str | None
    variant: str | None
    cells: tuple[Cell, ...]
    shifted: float | None
    details: Record


@dataclass(frozen=True)
class Board:
    """Everything about one task and model: the baseline's row comes first, then the order of the study.

    `base`, the model before fine-tuning, is there where the study has a prior task.
    """

    task: str
    model: str
    columns: tuple[EvaluationColumn, ...]
    base: Row | None
    rows: tuple[Row, ...]
    soups: tuple[Row, ...]


def boards(results: Results, metric: str | None = None) -> list[Board]:
    """One board for each task and model, in the order of the study; soups and base scores included.

    Each set shows its leading metric, or `metric` where it has that.
    """
    index = _Index(
        {(row["artifact_id"], row["eval_set"], row["metric"]): row for row in results.metrics},
        {(row["task"], row["model"], row["eval_set"], row["metric"]): row for row in results.metrics},
        {
            tuple(row[key] for key in ("task", "model", "eval_set", "metric", "method", "variant")): row["verdict"]
            for row in results.comparisons
            if row["primary"] and row["scope"] == "baseline"
        },
        {row["soup_id"]: row for row in results.soups},
    )
    study = results.study
    return [_board(study, index, task, model, metric) for task in study.tasks for model in study.models]


@dataclass(frozen=True)
class _Index:
    """Rows of the tables by what a board asks for."""

    scores: dict[Any, Record]
    shown: dict[Any, Record]
    verdicts: dict[Any, str]
    soups: dict[str, Record]


def selected(found: Sequence[Board], task: str | None, method: str | None) -> list[Board]:
    """Boards of one task, with the rows of one method or METHOD/VARIANT; null keeps all."""

    def kept(rows: tuple[Row, ...]) -> tuple[Row, ...]:
        return tuple(row for row in rows if method in (None, row.method, f"{row.method}/{row.variant}"))

    return [
        replace(board, rows=kept(board.rows), soups=kept(board.soups)) for board in found if task in (None, board.task)
    ]


def method_label(method: str, variant: str) -> str:
    """How outputs name a method and its variant."""
    return method if variant == "default" else f"{method}/{variant}"


def method_labels(study: Study) -> list[str]:
    """Every method and variant by name, the baseline first: the order in which figures give out their colours."""
    named = [(method, variant) for method in study.methods for variant in study.variants(method)]
    named.sort(key=lambda pair: pair != baseline_of(study))
    return [method_label(*pair) for pair in named]


def family_label(method: str | None, variant: str | None) -> str:
    """How outputs name the runs of a family; method and variant are None where the runs differ in them."""
    if method is None:
        return "all methods"
    return f"{method}, all variants" if variant is None else method_label(method, variant)


def mean_of_all(values: Sequence[float | None], expected: int) -> float | None:
    """The mean, or null unless there are `expected` values and none is null."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == expected else None


def half_interval(values: Sequence[float]) -> float | None:
    """Half the 95 % t interval of the mean of scores over seeds; null with one seed."""
    import numpy as np
    from scipy.special import stdtrit

    if len(values) < 2:
        return None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return error * float(stdtrit(len(values) - 1, 0.975))


def _board(study: Study, index: _Index, task: str, model: str, metric: str | None) -> Board:
    columns = tuple(_columns(study, index, task, model, metric))
    base = None
    before: dict[str, float | None] = {}
    if study.prior:
        artifact = matrix.Base(task, model).artifact
        cells = tuple(_single(index, artifact, column, None) for column in columns)
        base = Row("base", "not fine-tuned", None, None, cells, None, {})
        before = {column.eval_set: cell.mean for column, cell in zip(columns, cells, strict=True)}
    rows = []
    for method in study.methods:
        for variant in study.variants(method):
            runs = [matrix.Run(task, model, method, variant, seed).artifact for seed in study.seeds]
            cells = tuple(
                _over_seeds(
                    index,
                    runs,
                    column,
                    index.verdicts.get((task, model, column.eval_set, column.metric, method, variant)),
                    before.get(column.eval_set),
                )
                for column in columns
            )
            label = method_label(method, variant)
            rows.append(Row("run", label, method, variant, cells, _shifted(columns, cells), {}))
    soups = []
    combined: list[matrix.FamilyCell] = [*matrix.soups(study), *matrix.ensembles(study)]
    for cell in combined:
        if (cell.task, cell.model) == (task, model):
            cells = tuple(_single(index, cell.artifact, column, before.get(column.eval_set)) for column in columns)
            kind = "ensemble" if isinstance(cell, matrix.EnsembleCell) else "soup"
            details = index.soups.get(cell.artifact, {"n_candidates": len(cell.ingredients)})
            label = f"{cell.family} of {family_label(cell.method, cell.variant)}"
            soups.append(Row(kind, label, cell.method, cell.variant, cells, _shifted(columns, cells), details))
    rows.sort(key=lambda row: (row.method, row.variant) != baseline_of(study))
    return Board(task, model, columns, base, tuple(rows), tuple(soups))


def _columns(study: Study, index: _Index, task: str, model: str, asked: str | None) -> Iterable[EvaluationColumn]:
    """The sets of a task: in-domain, shifted, stress, prior. The metric is the one asked for or the leading one."""
    sets = [(name, str(item.role)) for name, item in study.tasks[task].evaluate.items() if item.labelled]
    sets.sort(key=lambda pair: ("id", "ood", "stress").index(pair[1]))
    if study.prior:
        sets.append((study.prior.name, "prior"))
    for name, role in sets:
        wanted = (*([asked] if asked else ()), *leading(study, task, role))
        metric = next((item for item in wanted if (task, model, name, item) in index.shown), wanted[0])
        shown = index.shown.get((task, model, name, metric), {"unit": "fraction", "higher_is_better": True})
        yield EvaluationColumn(name, role, metric, shown["unit"], shown["higher_is_better"])


def _over_seeds(
    index: _Index, runs: Sequence[str], column: EvaluationColumn, verdict: str | None, before: float | None
) -> Cell:
    found = [index.scores.get((run, column.eval_set, column.metric), {}).get("value") for run in runs]
    present = [value for value in found if value is not None]
    mean = mean_of_all(found, len(runs))
    return Cell(
        mean=mean,
        low=min(present) if mean is not None else None,
        high=max(present) if mean is not None else None,
        n=len(present),
        expected=len(runs),
        verdict=verdict,
        change=mean - before if mean is not None and before is not None else None,
        reach=half_interval(present) if mean is not None else None,
    )


def _single(index: _Index, artifact: str, column: EvaluationColumn, before: float | None) -> Cell:
    row = index.scores.get((artifact, column.eval_set, column.metric), {})
    value = row.get("value")
    change = value - before if value is not None and before is not None else None
    return Cell(value, row.get("ci_low"), row.get("ci_high"), int(value is not None), 1, None, change)


def _shifted(columns: Sequence[EvaluationColumn], cells: Sequence[Cell]) -> float | None:
    values = [cell.mean for column, cell in zip(columns, cells, strict=True) if column.role == "ood"]
    return mean_of_all(values, len(values)) if len(values) > 1 else None
