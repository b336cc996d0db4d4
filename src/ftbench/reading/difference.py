"""Two folders of results side by side: which scores moved, which are missing, what else is different.

For `ftbench compare`. Scores are paired by task, model, method, variant, set, metric and seed. With five pairs or more
a paired t-test over seeds decides, Holm-adjusted over everything compared; with fewer nothing is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftbench.reading.folders import ResultsFolder

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[Any, ...]
_CELL = ("task", "model", "artifact_kind", "method", "variant", "eval_set", "metric")
# equal but for the order of sums
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Side:
    """What one folder has: scores by cell and seed, and the runs behind them by artifact."""

    scores: dict[Key, dict[int, float]]
    counts: dict[Key, int]
    runs: dict[str, dict[str, Any]]


def differences(first: ResultsFolder, second: ResultsFolder) -> pa.Table:
    """One row a cell: means, the second minus the first, a verdict, and what else is different.

    `verdict` is higher, lower, no evidence, same (equal scores), too few seeds, only in first, or only in second.
    """
    import pyarrow as pa

    from ftbench.statistics.families import judge
    from ftbench.statistics.paired import compare

    sides = _side(first), _side(second)
    rows, tested = [], []
    for key in sorted({**sides[0].scores, **sides[1].scores}, key=str):
        one, other = (side.scores.get(key, {}) for side in sides)
        seeds = sorted({*one, *other})
        paired = compare(other, one, seeds)
        row = {
            **dict(zip(_CELL, key, strict=True)),
            "first": _mean(one),
            "second": _mean(other),
            "difference": paired.difference,
            "ci_low": paired.ci_low,
            "ci_high": paired.ci_high,
            "n_pairs": paired.n_pairs,
            "only_first": len(set(one) - set(other)),
            "only_second": len(set(other) - set(one)),
            "changed": ", ".join(_changed(sides, key, seeds)),
            "p_adjusted": None,
        }
        same = one.keys() == other.keys() and all(abs(one[seed] - other[seed]) <= _ROUNDING for seed in one)
        if not one or not other:
            row["verdict"] = f"only in {'first' if one else 'second'}"
        elif same:
            row["verdict"] = "same"
        else:
            tested.append((row, paired))
        rows.append(row)
    for (row, _), judged in zip(tested, judge([paired for _, paired in tested], True), strict=True):
        row["p_adjusted"] = judged.p_adjusted
        row["verdict"] = {"better": "higher", "worse": "lower"}.get(judged.verdict, judged.verdict)
    numbers = ("first", "second", "difference", "ci_low", "ci_high", "p_adjusted")
    types = {**dict.fromkeys(_CELL, pa.string()), **dict.fromkeys(numbers, pa.float64())}
    types |= dict.fromkeys(("n_pairs", "only_first", "only_second"), pa.int64())
    types |= {"verdict": pa.string(), "changed": pa.string()}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


def _side(folder: ResultsFolder) -> Side:
    metrics = folder.table("metrics")
    assert metrics is not None  # folder_of asked for it
    scores: dict[Key, dict[int, float]] = {}
    counts: dict[Key, int] = {}
    for row in metrics.to_pylist():
        if row["role"] == "select":
            continue
        key = tuple(row[name] for name in _CELL)
        counts[key] = row["n"]
        if row["value"] is not None:
            scores.setdefault(key, {})[row["seed"] or 0] = row["value"]
    runs = folder.table("runs")
    return Side(scores, counts, {row["run_id"]: row for row in runs.to_pylist()} if runs is not None else {})


def _mean(scores: Mapping[int, float]) -> float | None:
    return sum(scores.values()) / len(scores) if scores else None


def _changed(sides: tuple[Side, Side], key: Key, seeds: list[int]) -> list[str]:
    """What else is different between the runs of a cell: code, settings, data."""
    from ftbench import matrix

    found = []
    if key in sides[0].counts and key in sides[1].counts and sides[0].counts[key] != sides[1].counts[key]:
        found.append("evaluation rows")
    task, model, kind, method, variant = key[:5]
    if kind != "run":
        return found
    for column, word in (
        ("code_fingerprint", "code"),
        ("config_json", "settings"),
        ("train_rows", "training rows"),
        ("init_hash", "initial weights"),
        ("device", "device"),
    ):
        for seed in seeds:
            artifact = matrix.Run(task, model, method, variant, seed).artifact
            values = [side.runs.get(artifact, {}).get(column) for side in sides]
            if None not in values and values[0] != values[1]:
                found.append(word)
                break
    return found


def data_changes(first: ResultsFolder, second: ResultsFolder) -> list[str]:
    """Sentences on data sets whose card tells other content in the two folders."""
    from ftbench.tables.scan import json_object

    found = []
    for file in sorted((first.places.root / "data" / "sets").glob("*/card.json")):
        other = second.places.path("card", dataset=file.parent.name)
        cards = json_object(file), json_object(other)
        if cards[0] and cards[1]:
            differing = [key for key in sorted(cards[0]) if key in cards[1] and cards[0][key] != cards[1][key]]
            if differing:
                found.append(f"data set {file.parent.name}: different {', '.join(differing)}")
    return found
