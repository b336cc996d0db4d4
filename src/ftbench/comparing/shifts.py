"""Rows of the table `shift`: distances of sets from training, beside what the baseline loses there.

Called by the stage `compare`, which reads the tables. Distances come from `similarity` as they are; only the loss is
computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftbench.comparing.scores import Place, Rival, Scores

if TYPE_CHECKING:
    from ftbench.config.study import Study

MUCH = 0.01  # share of a set that may stand in the training rows without a flag
SHIFTED = ("ood", "stress")
Record = Mapping[str, Any]


def shift_rows(
    study: Study, scores: Scores, similarity: Sequence[Record], overlap: Sequence[Record]
) -> Iterator[dict[str, Any]]:
    """Rows without `study`, for every set of the tables `similarity` and `overlap` and every model."""
    from ftbench.statistics.baseline import baseline_of
    from ftbench.tables.shift import MEASURES

    named = baseline_of(study)
    baseline = Rival(*named) if named else None
    distances = {(row["task"], row["eval_set"]): row for row in similarity}
    repeated = {(row["task"], row["eval_set"]): row for row in overlap}
    for (task, eval_set), about in {**repeated, **distances}.items():
        distance: Record = distances.get((task, eval_set), {})
        near = repeated.get((task, eval_set), {}).get("near_share")
        for model in study.models:
            row = {
                "task": task,
                "model": model,
                "eval_set": eval_set,
                "role": about["role"],
                **{name: distance.get(name) for name in ("encoder", *(column.name for column in MEASURES))},
                "near_share": near,
                "baseline": baseline.method if baseline else None,
                "baseline_variant": baseline.variant if baseline else None,
            }
            if baseline and about["role"] in ("id", *SHIFTED):
                row |= _loss(study, scores, Place(task, model, "", eval_set), baseline, about["role"])
            yield {**row, "flags": _flags(row)}


def in_domain(study: Study, scores: Scores, task: str, model: str, metric: str, rival: Rival) -> dict[int, float]:
    """Mean over the in-domain sets by seed, of the seeds that have a score on each of them."""
    sets = [name for name, wanted in study.tasks[task].evaluate.items() if wanted.role == "id"]
    each = [scores.of(Place(task, model, metric, name), rival) for name in sets]
    return {
        seed: sum(values[seed] for values in each) / len(each)
        for seed in study.seeds
        if each and all(seed in values for values in each)
    }


def _loss(study: Study, scores: Scores, where: Place, baseline: Rival, role: str) -> dict[str, Any]:
    from ftbench.statistics.paired import compare

    leading = (place for place in scores.places if place._replace(metric="") == where and scores.leads(study, place))
    place = next(leading, None)
    if place is None:
        return {}
    inside = in_domain(study, scores, where.task, where.model, place.metric, baseline)
    shifted = scores.of(place, baseline)
    found = compare(inside, shifted, study.seeds)
    row: dict[str, Any] = {
        "metric": place.metric,
        "id_value": found.mean if inside else None,
        "value": found.baseline_mean if inside else None,
    }
    if role in SHIFTED and found.difference is not None:
        ends = [found.ci_low, found.ci_high]
        if scores.places[place].higher_is_better:
            row |= {"drop": found.difference, "drop_low": ends[0], "drop_high": ends[1]}
        else:
            low, high = (None if end is None else -end for end in reversed(ends))
            row |= {"drop": -found.difference, "drop_low": low, "drop_high": high}
        row["n_seeds"] = found.n_pairs
    return row


def _flags(row: Record) -> list[str]:
    flags = []
    drop, low = row.get("drop"), row.get("drop_low")
    if drop is not None and drop <= 0:
        flags.append("no_challenge")
    elif drop is not None and (row["n_seeds"] < 2 or (low is not None and low <= 0)):
        flags.append("unclear_loss")
    # the selection rows are cut from training, where sentences may be alike
    if row["near_share"] is not None and row["near_share"] > MUCH and row["role"] in ("id", *SHIFTED):
        flags.append("overlaps_training")
    return flags
