"""Stage `compare`: every method and variant of a study against its baseline, over seeds.

Reads the table `metrics` alone, so it can be repeated without a model. Selection sets are left out, because
methods were tuned on them, and soups, which have no seeds to pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.strict import Strict

if TYPE_CHECKING:
    from ftbench.config.study import Study


class Spec(Strict):
    """The study that is compared; `resolved` is its canonical content."""

    study: str
    resolved: dict[str, Any]


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `runs`, `metrics`, `forgetting`; outputs `comparisons`, without rows for a study without a baseline, and
    `pareto`, without rows for one without a prior task."""
    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.stages.compare_prior import pareto_rows
    from ftbench.tables.store import read_table, write_table

    study = validated(Study, spec.resolved, f"study {spec.study}")
    runs = read_table("runs", inputs["runs"]).to_pylist()
    metrics = read_table("metrics", inputs["metrics"]).to_pylist()
    rows = [{"study": spec.study, **row} for row in comparisons(study, metrics)]
    write_table("comparisons", rows, outputs["comparisons"])
    forgetting = read_table("forgetting", inputs["forgetting"]).to_pylist()
    points = [{"study": spec.study, **row} for row in pareto_rows(study, runs, metrics, forgetting)]
    write_table("pareto", points, outputs["pareto"])


def comparisons(study: Study, metrics: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of the table `comparisons` without `study`, from rows of `metrics`.

    The family of Holm's adjustment is one task, model and metric: what one leaderboard of the report prints.
    """
    from dataclasses import asdict

    from ftbench.statistics.baseline import baseline_of
    from ftbench.statistics.paired import compare, judge

    reference = baseline_of(study)
    if reference is None:
        return
    rivals = [
        (method, variant)
        for method in study.methods
        for variant in study.variants(method)
        if (method, variant) != reference
    ]
    scores, families = _arranged(metrics)
    for (task, model, metric), sets in families.items():
        members = [(eval_set, rival) for eval_set in sets for rival in rivals]
        compared = [
            compare(
                scores.get((task, model, metric, eval_set, rival), {}),
                scores.get((task, model, metric, eval_set, reference), {}),
                study.seeds,
            )
            for eval_set, rival in members
        ]
        higher = next(iter(sets.values()))["higher_is_better"]
        for (eval_set, rival), paired, judged in zip(members, compared, judge(compared, higher), strict=True):
            yield {
                "task": task,
                "model": model,
                "eval_set": eval_set,
                "role": sets[eval_set]["role"],
                "metric": metric,
                "method": rival[0],
                "variant": rival[1],
                "baseline": reference[0],
                "baseline_variant": reference[1],
                "higher_is_better": higher,
                "family": f"{task} / {model} / {metric}",
                **asdict(paired),
                **asdict(judged),
            }


def _arranged(metrics: list[dict[str, Any]]) -> tuple[dict[Any, dict[int, float]], dict[Any, dict[str, Any]]]:
    """Scores by cell and seed, undefined ones left out; the sets of each family with one of their rows."""
    scores: dict[Any, dict[int, float]] = {}
    families: dict[Any, dict[str, Any]] = {}
    for row in metrics:
        if row["artifact_kind"] != "run" or row["role"] == "select":
            continue
        families.setdefault((row["task"], row["model"], row["metric"]), {}).setdefault(row["eval_set"], row)
        if row["value"] is not None:
            cell = (
                row["task"],
                row["model"],
                row["metric"],
                row["eval_set"],
                (row["method"], row["variant"]),
            )
            scores.setdefault(cell, {})[row["seed"]] = row["value"]
    return scores, families
