"""Rows of the tables `trends`, `robustness` and `groups`: what holds under shift, and for whom.

Called by the stage `compare`. In-domain scores are means over the in-domain sets of a task. Predictions, where they are
there, are resampled so that one draw of examples serves all runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ftbench.comparing.scores import Place, Rival, Scores, rivals
from ftbench.comparing.shifts import SHIFTED, in_domain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.comparing.examples import SetExamples
    from ftbench.config.study import Study
    from ftbench.paths import StudyPaths
    from ftbench.statistics.effective import Runs

RESAMPLES = 2000  # at most; ends of intervals are read in points, not in hundredths
Record = dict[str, Any]


class Point(NamedTuple):
    """One run."""

    model: str
    rival: Rival
    seed: int


@dataclass
class Robustness:
    """Rows of the three tables, without `study`."""

    trends: list[Record] = field(default_factory=list)
    robustness: list[Record] = field(default_factory=list)
    groups: list[Record] = field(default_factory=list)


def family_of(study: Study) -> list[Rival]:
    """Methods and variants whose runs are the points of the trend."""
    from ftbench.statistics.baseline import baseline_of

    named = baseline_of(study)
    wanted = study.robustness.family or ([named[0]] if named else [])
    return [rival for rival in rivals(study) if rival.method in wanted or f"{rival.method}/{rival.variant}" in wanted]


def robustness(study: Study, scores: Scores, places: StudyPaths | None) -> Robustness:
    """All rows of a study; without `places`, the study's folder, no example is resampled and no group known."""
    found = Robustness()
    for task in study.tasks:
        leading = [place for place in scores.places if place.task == task and scores.leads(study, place)]
        metrics = {place.metric for place in leading if scores.places[place].role in ("id", *SHIFTED)}
        if len(metrics) == 1:
            _Task(study, scores, places, task, metrics.pop()).into(found)
    return found


class _Task:
    """The runs of one task, with the scores of their leading metric."""

    def __init__(self, study: Study, scores: Scores, places: StudyPaths | None, task: str, metric: str) -> None:
        from ftbench.plugins import plugin

        self.study, self.scores, self.places, self.task, self.metric = study, scores, places, task, metric
        self.resamples = min(RESAMPLES, study.statistics.resamples)
        factory = plugin("metrics", metric).factory
        self.share = factory.higher_is_better and factory.bounds == (0.0, 1.0) and factory.unit == "fraction"
        self.sign = 1.0 if factory.higher_is_better else -1.0
        self.roles = {
            name: wanted.role
            for name, wanted in study.tasks[task].evaluate.items()
            if any(self._place(model, name) in scores.places for model in study.models)
        }
        self.inside = {
            (model, rival): in_domain(study, scores, task, model, metric, rival)
            for model in study.models
            for rival in rivals(study)
        }
        self.examples = self._read(metric)
        right = metric == "accuracy" or "classification" not in factory.kinds
        self.answers = (self.examples if right else self._read("accuracy")) if "classification" in factory.kinds else {}
        self.drawn = {name: self._resampled(name) for name in self.examples}

    def into(self, found: Robustness) -> None:
        lowest = {key: self._lowest(*key) for key in self.inside}
        groups = {name: self._groups(name) for name in self.answers}
        for name, role in self.roles.items():
            trend, family = self._trend(name) if role in SHIFTED else ({}, None)
            if trend:
                found.trends.append(trend)
            for model, rival in self.inside:
                identity = {"task": self.task, "model": model, **rival._asdict(), "eval_set": name, "role": role}
                own = [{**identity, **row} for row in self._grouped(name, model, rival, groups.get(name, {}))]
                found.groups += own
                worst = min((row for row in own if row["worst"]), key=lambda row: row["accuracy"], default=None)
                row = {**identity, "metric": self.metric, **self._row(name, model, rival, family)}
                row["worst_set"] = lowest[model, rival] == name
                if worst:
                    row["worst_group"] = f"{worst['scheme']}={worst['group']}"
                    row["worst_group_value"] = worst["accuracy"]
                found.robustness.append(row)

    # scores

    def _place(self, model: str, eval_set: str) -> Place:
        return Place(self.task, model, self.metric, eval_set)

    def _artifact(self, point: Point) -> str:
        return self.scores.artifacts[self.task, point.model, point.rival, point.seed]

    def _points(self, name: str, model: str, rival: Rival) -> list[Point]:
        """Runs with a score on the set and in domain."""
        shifted, inside = self.scores.of(self._place(model, name), rival), self.inside[model, rival]
        return [Point(model, rival, seed) for seed in self.study.seeds if seed in shifted and seed in inside]

    def _runs(self, name: str, points: Sequence[Point]) -> Runs:
        import numpy as np

        from ftbench.statistics.effective import Runs

        inside = np.array([self.inside[point.model, point.rival][point.seed] for point in points])
        shifted = np.array([self.scores.of(self._place(p.model, name), p.rival)[p.seed] for p in points])
        artifacts = [self._artifact(point) for point in points]
        sets = [item for item, role in self.roles.items() if role == "id"]
        if not artifacts or not all(
            artifact in self.drawn.get(item, {}) for item in (name, *sets) for artifact in artifacts
        ):
            return Runs(inside, shifted)
        drawn = [np.stack([self.drawn[item][artifact] for artifact in artifacts]) for item in (name, *sets)]
        return Runs(inside, shifted, np.mean(drawn[1:], axis=0), drawn[0])

    def _lowest(self, model: str, rival: Rival) -> str | None:
        """The shifted or stress set with the lowest mean; null unless every seed has a score on all of them."""
        means = {}
        for name in (name for name, role in self.roles.items() if role in SHIFTED):
            values = self.scores.of(self._place(model, name), rival)
            if any(seed not in values for seed in self.study.seeds):
                return None
            means[name] = self.sign * sum(values.values())
        return min(means, key=means.__getitem__) if means else None

    # examples

    def _read(self, metric: str) -> dict[str, SetExamples]:
        from ftbench.comparing.examples import read_examples

        if self.places is None:
            return {}
        artifacts = [name for (task, *_), name in self.scores.artifacts.items() if task == self.task]
        return read_examples(self.places, self.task, artifacts, dict.fromkeys(self.roles, metric))

    def _resampled(self, name: str) -> dict[str, NDArray[np.float64]]:
        from ftbench.metrics.resampling import generator_for
        from ftbench.statistics.bootstrap import resampled_scores

        item = self.examples[name]
        rows, artifacts = len(item.uids), list(item.parts)
        generator = generator_for(self.task, self.metric, name, "robustness")
        found = resampled_scores(
            item.stacked(artifacts), lambda sums: item.metric.from_parts(sums, rows), generator, self.resamples
        )
        return dict(zip(artifacts, found, strict=True))

    def _groups(self, name: str) -> dict[str, Any]:
        from ftbench.comparing.groups import groups_of

        assert self.places is not None
        file = self.places.path("evaluation", task=self.task)
        return groups_of(file, name, self.answers[name].uids, self.study.robustness.groups) if file.is_file() else {}

    def _grouped(self, name: str, model: str, rival: Rival, groups: dict[str, Any]) -> Iterator[Record]:
        from ftbench.comparing.groups import group_rows

        points = [Point(model, rival, seed) for seed in self.scores.of(self._place(model, name), rival)]
        artifacts = [self._artifact(point) for point in points]
        there = [artifact for artifact in artifacts if artifact in self.answers[name].parts] if groups else []
        if there:
            yield from group_rows(self.answers[name].right(there), groups)

    # rows

    def _rows_of(self, name: str) -> tuple[int, int]:
        """Examples of the in-domain sets together, and of the set."""
        sizes = [self.scores.places[place].rows for place in self._places_of("id")]
        return sum(sizes), self.scores.places[self._places_of(name)[0]].rows

    def _places_of(self, wanted: str) -> list[Place]:
        """The places of a set, or of a role, of the first model that has them."""
        names = [name for name, role in self.roles.items() if wanted in (name, role)]
        places = [[self._place(model, name) for model in self.study.models] for name in names]
        return [next(place for place in each if place in self.scores.places) for each in places]

    def _trend(self, name: str) -> tuple[Record, Runs | None]:
        """The row of `trends`, and the family where it says what to expect."""
        from ftbench.metrics.resampling import generator_for
        from ftbench.statistics.effective import fit, obstacle
        from ftbench.statistics.trend import classify

        family = family_of(self.study)
        points = [
            point for model in self.study.models for rival in family for point in self._points(name, model, rival)
        ]
        runs = self._runs(name, points)
        trend = classify(
            self.sign * runs.inside, self.sign * runs.shifted, generator_for(self.task, name, "trend"), 1000
        )
        reason = obstacle(runs)
        if trend.kind == "III":
            reason = "scores first fall, then rise with those in domain (type III)"
        if not self.share:
            reason = f"`{self.metric}` is no share between 0 and 1 of which more is better"
        ends = [item or (None, None) for item in (*trend.intervals, None, None)]
        slopes = (*trend.slopes, None, None)
        row: Record = {
            "task": self.task, "eval_set": name, "role": self.roles[name], "metric": self.metric,
            "family": [f"{rival.method}/{rival.variant}" for rival in family], "n_points": len(points),
            "id_low": float(runs.inside.min()) if points else None,
            "id_high": float(runs.inside.max()) if points else None,
            "kind": trend.kind, "reason": trend.reason, "bic_gain": trend.bic_gain,
            "slope": slopes[0], "slope_low": ends[0][0], "slope_high": ends[0][1],
            "second_slope": slopes[1], "second_low": ends[1][0], "second_high": ends[1][1],
            "knee": None if trend.knee is None else self.sign * trend.knee,
            "effective": "not_applicable" if reason else "ok", "effective_reason": reason,
        }  # fmt: skip
        if reason:
            return row, None
        line = fit(runs, self._rows_of(name))
        return {
            **row, "logit_intercept": line.intercept, "logit_slope": line.slope, "logit_r_squared": line.r_squared,
        }, runs  # fmt: skip

    def _row(self, name: str, model: str, rival: Rival, family: Runs | None) -> Record:
        from ftbench.metrics.resampling import generator_for
        from ftbench.statistics.effective import effective_robustness

        points = self._points(name, model, rival)
        runs = self._runs(name, points)
        complete = len(points) == len(self.study.seeds)
        row: Record = {
            "n_runs": len(points),
            "id_value": float(runs.inside.mean()) if complete else None,
            "value": float(runs.shifted.mean()) if complete else None,
            "examples": runs.shifted_drawn is not None,
            "effective_state": "ok" if family else "not_applicable",
            **self._relative(name, model, rival),
        }
        if family and points:
            generator = generator_for(self.task, name, model, *rival, "effective")
            value, interval = effective_robustness(family, runs, self._rows_of(name), generator, self.resamples)
            low, high = interval or (None, None)
            row |= {"effective": value, "effective_low": low, "effective_high": high}
            outside = (runs.inside < family.inside.min()) | (runs.inside > family.inside.max())
            row["extrapolated"] = bool(outside.any())
        return row

    def _relative(self, name: str, model: str, rival: Rival) -> Record:
        from ftbench.metrics.resampling import generator_for
        from ftbench.statistics.baseline import baseline_of
        from ftbench.statistics.bootstrap import seed_shares
        from ftbench.statistics.intervals import percentile_interval

        named = baseline_of(self.study)
        if named is None or rival == Rival(*named):
            return {}
        baseline = {point.seed: point for point in self._points(name, model, Rival(*named))}
        points = [point for point in self._points(name, model, rival) if point.seed in baseline]
        if not points:
            return {}
        ours, theirs = self._runs(name, points), self._runs(name, [baseline[point.seed] for point in points])
        value = self.sign * float((ours.shifted - theirs.shifted).mean())
        if len(points) < 2:
            return {"relative": value}
        drawn = self.sign * (ours.drawn()[1] - theirs.drawn()[1])
        shares = seed_shares(len(points), generator_for(self.task, name, "seeds"), self.resamples)
        low, high = percentile_interval((drawn * shares).sum(axis=0)) or (None, None)
        return {"relative": value, "relative_low": low, "relative_high": high}
