"""Rows of the table `pareto`: every method's mean on the new task against its mean on the prior task.

Called by the stage `compare`. A mean over seeds exists only where every seed has a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftbench.config.study import Study

LEADING = ("accuracy", "pearson", "word_accuracy")
DAMAGES = ("collateral_damage", "forget_rate", "positive_transfer")


def pareto_rows(
    study: Study, runs: list[dict[str, Any]], metrics: list[dict[str, Any]], forgetting: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows without `study`, from rows of the three tables; none for a study without a prior task."""
    if study.prior is None:
        return
    for task in study.tasks:
        for model in study.models:

            def here(rows: list[dict[str, Any]], task: str = task, model: str = model) -> list[dict[str, Any]]:
                return [row for row in rows if (row["task"], row["model"]) == (task, model)]

            yield from _of_one(study, task, model, here(runs), here(metrics), here(forgetting))


def _of_one(
    study: Study,
    task: str,
    model: str,
    runs: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
    forgetting: list[dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    from ftbench.statistics.baseline import baseline_of
    from ftbench.statistics.pareto import hypervolume, on_front, value_at

    assert study.prior is not None
    inside = [name for name, wanted in study.tasks[task].evaluate.items() if wanted.role == "id"]
    wanted = (*study.tasks[task].metrics[:1], *LEADING)
    scored = {(row["eval_set"], row["metric"]) for row in metrics}
    new_metric = next((name for name in wanted if any((item, name) in scored for item in inside)), wanted[0])
    prior_metric = next((name for name in LEADING if (study.prior.name, name) in scored), LEADING[0])
    sign = 1.0 if all(row["higher_is_better"] for row in metrics if row["metric"] == new_metric) else -1.0
    values = {(row["artifact_id"], row["eval_set"], row["metric"]): row["value"] for row in metrics}
    before = next((row["value"] for row in metrics if row["artifact_kind"] == "base"
                   and (row["eval_set"], row["metric"]) == (study.prior.name, prior_metric)), None)  # fmt: skip
    whole = {row["artifact_id"]: row for row in forgetting if row["scheme"] == "all"}
    costs = {row["run_id"]: row.get("charged_rows") for row in runs}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for method in study.methods:
        for variant in study.variants(method):
            ids = [row["run_id"] for row in runs if (row["method"], row["variant"]) == (method, variant)]
            new = [mean([values.get((run, item, new_metric)) for item in inside], len(inside)) for run in ids]
            prior = [values.get((run, study.prior.name, prior_metric)) for run in ids]
            rows[method, variant] = {
                "task": task, "model": model, "method": method, "variant": variant, "new_metric": new_metric,
                "new_value": mean(new, len(study.seeds)), "prior_metric": prior_metric,
                "prior_value": mean(prior, len(study.seeds)), "prior_before": before,
                "charged_rows": mean([costs.get(run) for run in ids], len(study.seeds)),
                **{key: mean([whole.get(run, {}).get(key) for run in ids], len(study.seeds)) for key in DAMAGES},
            }  # fmt: skip
    points = {
        key: (sign * row["new_value"], row["prior_value"])
        for key, row in rows.items()
        if row["new_value"] is not None and row["prior_value"] is not None
    }
    best = dict(zip(points, on_front(list(points.values())), strict=True))
    baseline = baseline_of(study)
    match = rows[baseline]["new_value"] if baseline else None
    least = mean([row.get("majority_score") for row in runs], len(runs))
    reference = (least, rows[baseline]["prior_value"] if baseline else None)
    if study.tasks[task].select.metric not in (None, new_metric):  # the commonest answer was scored by another metric
        reference = (None, reference[1])
    for key, row in rows.items():
        own = [points[other] for other in points if other[0] == key[0]]
        area = None
        if own and reference[0] is not None and reference[1] is not None:
            area = hypervolume(own, (sign * reference[0], reference[1]))
        yield {
            **row,
            "on_front": best.get(key),
            "matched_at": match,
            "prior_at_match": None if match is None or not own else value_at(own, sign * match),
            "reference_new": reference[0],
            "reference_prior": reference[1],
            "hypervolume": area,
        }


def mean(values: Sequence[float | None], expected: int) -> float | None:
    """The mean of all `expected` values, or None where one is missing."""
    present = [value for value in values if value is not None]
    return sum(present) / expected if expected and len(present) == len(values) == expected else None
