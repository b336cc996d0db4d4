"""The table `standings`: how each method does over all tasks and sets of a role.

Called by the stage `compare`. Aggregates need complete data: a method with a missing score has no interquartile mean,
and a set on which any method lacks a seed does not rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftbench.comparing.scores import Place, Rival, Scores, rivals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.config.study import Study

RunRow = Mapping[str, Any]


def standings(study: Study, scores: Scores, runs: Sequence[RunRow]) -> Iterator[dict[str, Any]]:
    """Rows of `standings` without `study`, for the leading metrics; `runs` are rows of the table of that name."""
    groups: dict[tuple[str, str, str], list[Place]] = {}
    for place, about in scores.places.items():
        if scores.leads(study, place):
            groups.setdefault((place.model, about.role, place.metric), []).append(place)
    for (model, role, metric), places in groups.items():
        ranked = _ranked(study, scores, places)
        for number, rival in enumerate(rivals(study)):
            yield {
                "model": model,
                "role": role,
                "metric": metric,
                **rival._asdict(),
                "n_sets": len(places),
                **_failures(rival, places, runs),
                **_middle(study, scores, places, rival, runs),
                **_against(study, scores, places, rival),
                **ranked(number),
            }


def _values(study: Study, scores: Scores, place: Place, rival: Rival) -> NDArray[np.float64] | None:
    """Scores over all seeds such that higher is better; null while one is missing."""
    import numpy as np

    found = scores.of(place, rival)
    if any(seed not in found for seed in study.seeds):
        return None
    sign = 1.0 if scores.places[place].higher_is_better else -1.0
    return sign * np.array([found[seed] for seed in study.seeds], dtype=np.float64)


def _mean(study: Study, scores: Scores, place: Place, rival: Rival) -> float:
    values = _values(study, scores, place, rival)
    assert values is not None  # asked of complete places only
    return float(values.mean())


def _complete(study: Study, scores: Scores, places: Sequence[Place]) -> list[Place]:
    every = rivals(study)
    return [place for place in places if all(_values(study, scores, place, rival) is not None for rival in every)]


def _ranked(study: Study, scores: Scores, places: Sequence[Place]) -> Any:
    """A function from the number of a rival to its columns on ranks and wins."""
    import numpy as np

    from ftbench.statistics.baseline import baseline_of
    from ftbench.statistics.effects import win_rate
    from ftbench.statistics.ranks import ranking

    every, complete = rivals(study), _complete(study, scores, places)
    if not complete:
        return lambda _: {"n_complete": 0}
    means = np.array([[_mean(study, scores, place, rival) for rival in every] for place in complete])
    found = ranking(means)
    named = baseline_of(study)
    reference = every.index(Rival(*named)) if named else None

    def columns(number: int) -> dict[str, Any]:
        rival = {
            "n_complete": len(complete),
            "mean_rank": float(found.mean_ranks[number]),
            "critical_difference": found.critical_difference,
            "friedman_p": found.friedman_p,
        }
        if reference is not None and number != reference:
            rival["win_rate"] = win_rate(means[:, number], means[:, reference])
        return rival

    return columns


def _failures(rival: Rival, places: Sequence[Place], runs: Sequence[RunRow]) -> dict[str, Any]:
    from ftbench.statistics.failures import failure_rate

    cells = {(place.task, place.model, *rival) for place in places}
    ended = [
        row["status"]
        for row in runs
        if row["status"] != "missing" and (row["task"], row["model"], row["method"], row["variant"]) in cells
    ]
    failed = sum(status != "success" for status in ended)
    share, low, high = failure_rate(failed, len(ended)) or (None, None, None)
    return {"n_runs": len(ended), "n_failed": failed, "failed_share": share, "failed_low": low, "failed_high": high}


def _chances(places: Sequence[Place], runs: Sequence[RunRow]) -> dict[str, float] | None:
    """The score of always giving the commonest answer, by task; null unless every task's runs tell it."""
    metric = places[0].metric
    found = {
        row["task"]: float(row["majority_score"])
        for row in runs
        if row["majority_score"] is not None and row["select_metric"] == metric
    }
    return found if all(found.get(place.task, 1.0) < 1 for place in places) else None


def _middle(
    study: Study, scores: Scores, places: Sequence[Place], rival: Rival, runs: Sequence[RunRow]
) -> dict[str, Any]:
    """The interquartile mean with its interval; fractions only, because other units have no common scale."""
    import numpy as np

    from ftbench.metrics.resampling import generator_for
    from ftbench.statistics.aggregate import interquartile_mean, stratified_indices, stratified_interval

    about = scores.places[places[0]]
    if about.unit != "fraction" or not about.higher_is_better:
        return {}
    chances = _chances(places, runs) if about.role != "prior" else None
    found = [_values(study, scores, place, rival) for place in places]
    if any(values is None for values in found):
        return {}
    tasks = []
    for place, values in zip(places, found, strict=True):
        assert values is not None
        chance = chances[place.task] if chances else 0.0
        tasks.append((values - chance) / (1 - chance))
    generator = generator_for(places[0].model, about.role, places[0].metric, *rival)
    indices = stratified_indices([len(values) for values in tasks], generator, study.statistics.resamples)
    low, high = (stratified_interval(tasks, indices) if len(study.seeds) > 1 else None) or (None, None)
    return {
        "scale": "chance" if chances else "raw",
        "iqm": float(interquartile_mean(np.concatenate(tasks))),
        "iqm_low": low,
        "iqm_high": high,
    }


def _against(study: Study, scores: Scores, places: Sequence[Place], rival: Rival) -> dict[str, Any]:
    """The probability of improvement on the baseline; needs more than one seed."""
    from ftbench.metrics.resampling import generator_for
    from ftbench.statistics.aggregate import improvement_interval, improvement_over_tasks
    from ftbench.statistics.baseline import baseline_of

    named = baseline_of(study)
    if named is None or rival == Rival(*named) or len(study.seeds) < 2:
        return {}
    ours = [_values(study, scores, place, rival) for place in places]
    theirs = [_values(study, scores, place, Rival(*named)) for place in places]
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and other is not None]
    if len(pairs) != len(places):
        return {}
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    generator = generator_for(places[0].model, places[0].metric, "improvement", *rival)
    low, high = improvement_interval(first, second, generator, study.statistics.resamples) or (None, None)
    return {"improvement": improvement_over_tasks(first, second), "improvement_low": low, "improvement_high": high}
