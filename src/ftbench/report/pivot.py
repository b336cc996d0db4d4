"""Any table for a paper: scores of runs by chosen rows and columns, each a mean over all seeds with its interval.

Used by the stage `report` and by `ftbench table`; `report/paper.py` prints it. A cell with a missing seed has no number
but a footnote with the reason; a mark stands only where the verdict of the comparison with the baseline says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ftbench import matrix
from ftbench.comparing.scores import leading
from ftbench.config.errors import FtbenchError, nearest
from ftbench.report.grid import NO_VALUE, number
from ftbench.report.leaderboard import half_interval, method_label
from ftbench.report.results import Record, Results
from ftbench.statistics.baseline import baseline_of

DIMENSIONS = ("task", "model", "method", "eval_set", "metric")
Point = dict[str, str]


@dataclass(frozen=True)
class PivotCell:
    """A printed number, its half-width, the verdict, and the index of its footnote; empty where nothing belongs."""

    text: str = ""
    reach: str = ""
    verdict: str = ""
    footnote: int | None = None


@dataclass(frozen=True)
class Pivot:
    """Heads of rows and columns as tuples of names, cells, footnotes, and what is fixed for the whole table."""

    row_names: tuple[str, ...]
    column_names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[tuple[str, ...], ...]
    cells: tuple[tuple[PivotCell, ...], ...]
    footnotes: tuple[str, ...]
    fixed: Mapping[str, str]


def pivot(
    results: Results,
    rows: Sequence[str] = ("method",),
    columns: Sequence[str] = (),
    only: Mapping[str, str] | None = None,
    metric: str | None = None,
) -> Pivot:
    """The table; dimensions named in neither `rows` nor `columns` become columns if they vary, else are fixed.

    `only` keeps one value of a dimension. `metric` is the metric of every set; null takes the leading one of each, or
    all of them where `metric` is among the rows or columns.
    """
    for name in (*rows, *columns, *(only or {})):
        if name not in DIMENSIONS:
            raise FtbenchError(f"unknown dimension `{name}`. {nearest(name, DIMENSIONS)}")
    both = set(rows) & set(columns)
    if both:
        raise FtbenchError(f"found {sorted(both)} as rows and as columns; expected each once")
    every = metric is None and "metric" in (*rows, *columns)
    points = [point for point in _points(results, metric, every) if _kept(point, only or {})]
    if not points:
        raise FtbenchError(f"found nothing for {dict(only or {})} and metric {metric or 'any'}")
    varying = [name for name in DIMENSIONS if len({point[name] for point in points}) > 1]
    rest = [name for name in varying if name not in (*rows, *columns)]
    across = [*columns, *rest]
    heads = (_heads(points, rows), _heads(points, across))
    by_place = {(_head(point, rows), _head(point, across)): point for point in points}
    notes: list[str] = []
    scores, verdicts = _scores(results), _verdicts(results)
    cells = tuple(
        tuple(
            _cell(results, by_place[row, column], scores, verdicts, notes) if (row, column) in by_place else PivotCell()
            for column in heads[1]
        )
        for row in heads[0]
    )
    fixed = {name: points[0][name] for name in DIMENSIONS if name not in (*rows, *across)}
    return Pivot(tuple(rows), tuple(across), heads[0], heads[1], cells, tuple(notes), fixed)


def _points(results: Results, metric: str | None, every: bool) -> list[Point]:
    """Every cell that the study asks for, whether there are scores or not."""
    study = results.study
    metrics: dict[tuple[str, str], list[str]] = {}
    for row in results.metrics:
        if row["artifact_kind"] == "run" and row["role"] != "select":
            known = metrics.setdefault((row["task"], row["eval_set"]), [])
            if row["metric"] not in known:
                known.append(row["metric"])
    found = []
    for task, settings in study.tasks.items():
        sets = {name: str(item.role) for name, item in settings.evaluate.items() if item.labelled}
        if study.prior:
            sets[study.prior.name] = "prior"
        for eval_set, role in sets.items():
            known = metrics.get((task, eval_set), [])
            first = next((name for name in leading(study, task, role) if name in known), leading(study, task, role)[0])
            shown = known if every else [first] if metric is None else [name for name in known if name == metric]
            place = {"task": task, "eval_set": eval_set}
            found += [
                {**place, "model": model, "method": method_label(method, variant), "metric": one}
                for one in shown
                for model in study.models
                for method in study.methods
                for variant in study.variants(method)
            ]
    return found


def _kept(point: Point, only: Mapping[str, str]) -> bool:
    return all(point[name] == value or _of(point, name, value) for name, value in only.items())


def _of(point: Point, name: str, value: str) -> bool:
    """Whether it is a variant of the method that is asked for."""
    return name == "method" and point[name].startswith(f"{value}/")


def _head(point: Point, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(point[name] for name in names)


def _heads(points: Sequence[Point], names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys(_head(point, names) for point in points))


def _scores(results: Results) -> dict[tuple[str, str, str], Record]:
    return {(row["artifact_id"], row["eval_set"], row["metric"]): row for row in results.metrics}


def _verdicts(results: Results) -> dict[tuple[str, ...], str]:
    keys = ("task", "model", "eval_set", "metric")
    return {
        (*(row[key] for key in keys), method_label(row["method"], row["variant"])): row["verdict"]
        for row in results.comparisons
        if row["primary"] and row["scope"] == "baseline"
    }


def _cell(
    results: Results,
    point: Point,
    scores: Mapping[tuple[str, str, str], Record],
    verdicts: Mapping[tuple[str, ...], str],
    notes: list[str],
) -> PivotCell:
    method, _, variant = point["method"].partition("/")
    runs = [
        matrix.Run(point["task"], point["model"], method, variant or "default", seed).artifact
        for seed in results.study.seeds
    ]
    found = [scores.get((run, point["eval_set"], point["metric"])) for run in runs]
    present = [row for row in found if row is not None and row["value"] is not None]
    if len(present) < len(runs):
        return PivotCell(NO_VALUE, footnote=_note(notes, _reason(results, runs, found)))
    values = [row["value"] for row in present]
    unit = present[0]["unit"]
    key = (point["task"], point["model"], point["eval_set"], point["metric"], point["method"])
    return PivotCell(number(sum(values) / len(values), unit), _reach(values, unit), verdicts.get(key, ""))


def _note(notes: list[str], text: str) -> int:
    if text not in notes:
        notes.append(text)
    return notes.index(text)


def _reason(results: Results, runs: Sequence[str], found: Sequence[Record | None]) -> str:
    """How many seeds are there, and why the first one is not."""
    absent = [run for run, row in zip(runs, found, strict=True) if row is None]
    undefined = sum(row is not None and row["value"] is None for row in found)
    text = f"{len(runs) - len(absent) - undefined} of {len(runs)} seeds"
    if undefined:
        return f"{text}; the score is undefined for {undefined}"
    reason = next((row["reason"] for row in results.missing if row["artifact_id"] == absent[0]), "not scored")
    return f"{text}; {' '.join(str(reason).split())}"


def _reach(values: Sequence[float], unit: str) -> str:
    half = half_interval(values)
    return "" if half is None else number(half, unit)


def caption(results: Results, table: Pivot) -> str:
    """What the numbers are, in words."""
    seeds = len(results.study.seeds)
    fixed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table.fixed.items())
    spread = f"mean over {seeds} seeds ± half the 95 % t interval" if seeds > 1 else "one seed, without an interval"
    text = f"{fixed[:1].upper()}{fixed[1:]}. {spread[:1].upper()}{spread[1:]}; fractions in percent."
    baseline = baseline_of(results.study)
    if baseline is not None:
        text += (
            f" + and - mark a difference from {method_label(*baseline)} at 5 % (paired t-test over seeds,"
            f" {'Holm' if results.study.statistics.adjustment == 'holm' else 'Benjamini and Hochberg'});"
            " unmarked differences are within noise."
        )
    return text
