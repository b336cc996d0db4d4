"""Every comparison of two methods at one place: by seeds, and by seeds and examples where the metric leads.

`comparing/verdicts.py` adjusts and words what is built here. A pair is tested on the seeds that both have; nothing is
filled in. Below two pairs of seeds no p value exists, whatever the number of examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftbench.comparing.scores import About, Place, Rival, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftbench.comparing.examples import SetExamples
    from ftbench.config.study import Study

BOOTSTRAPS = 1000


@dataclass
class Compared:
    """One test of one pair: the numbers of its row, and what it takes to judge it."""

    place: Place
    about: About
    scope: str
    method: Rival
    baseline: Rival
    test: str
    numbers: dict[str, Any] = field(default_factory=dict)
    primary: bool = False

    @property
    def difference(self) -> float | None:
        """Difference such that higher is better."""
        value = self.numbers.get("difference")
        return None if value is None else float(value) * (1 if self.about.higher_is_better else -1)

    @property
    def p_value(self) -> float | None:
        return self.numbers.get("p_value")

    @property
    def testable(self) -> bool:
        from ftbench.statistics.families import FEWEST_PAIRS

        return self.numbers["n_pairs"] >= FEWEST_PAIRS and (self.p_value is not None or self.test == "aso")


@dataclass
class Pairing:
    """Compares pairs of methods at one place; `examples` where predictions are there to be resampled."""

    study: Study
    place: Place
    about: About
    scores: Scores
    examples: SetExamples | None
    _example_scores: dict[tuple[Rival, int], NDArray[np.float64]] = field(default_factory=dict)
    _distributions: dict[tuple[Rival, tuple[int, ...]], NDArray[np.float64]] = field(default_factory=dict)

    def by_seed(self, scope: str, method: Rival, baseline: Rival) -> Compared:
        """The paired t-test over seeds, with effect sizes and power: the row that gives the verdict."""
        import numpy as np

        from ftbench.statistics.effects import probability_of_improvement, standardised_difference
        from ftbench.statistics.paired import compare
        from ftbench.statistics.power import detectable_difference, seeds_needed

        ours, theirs = self.scores.of(self.place, method), self.scores.of(self.place, baseline)
        paired = compare(ours, theirs, self.study.seeds)
        numbers = {**paired.__dict__}
        test = numbers.pop("test")
        differences = self._differences(method, baseline)
        if len(differences) >= 3:
            deviation = float(differences.std(ddof=1))
            sign = 1 if self.about.higher_is_better else -1
            first, second = (sign * np.array(list(item.values())) for item in (ours, theirs))
            numbers |= {
                "effect_size": standardised_difference(differences),
                "superiority": probability_of_improvement(first, second),
                "detectable": detectable_difference(deviation, len(differences)),
                "seeds_needed": seeds_needed(paired.difference, deviation) if paired.difference else None,
            }
        return self._row(scope, method, baseline, test, numbers, primary=True)

    def further(self, scope: str, method: Rival, baseline: Rival) -> Iterator[Compared]:
        """The other tests: of all pairs the joint bootstrap, with the baseline also those that are cheap only there."""
        differences = self._differences(method, baseline)
        if len(differences) < 2:
            return
        common = {
            "n_pairs": len(differences),
            "n_missing": len(self.study.seeds) - len(differences),
            "difference": float(differences.mean()),
        }
        if scope == "baseline":
            yield self._row(scope, method, baseline, "permutation", {**common, **self._permuted(differences)})
            yield self._row(scope, method, baseline, "aso", {**common})
            if self.examples and self.place.metric == "accuracy" and self._complete(method, baseline):
                yield self._row(scope, method, baseline, "mcnemar", {**common, **self._mcnemar(method, baseline)})
        if self.examples and self._complete(method, baseline):
            joint = {**common, **self._joint(method, baseline, common["difference"])}
            yield self._row(scope, method, baseline, "hierarchical", joint)

    def dominance(self, method: Rival, baseline: Rival, family_size: int) -> tuple[float, float] | None:
        """eps_min of almost stochastic order in both directions, at a confidence of 1 - 5 % / family."""
        import numpy as np

        from ftbench.statistics.dominance import almost_stochastic_order
        from ftbench.statistics.families import LEVEL

        sign = 1 if self.about.higher_is_better else -1
        first, second = (
            sign * np.array([self.scores.of(self.place, rival)[seed] for seed in self._seeds(method, baseline)])
            for rival in (method, baseline)
        )
        generator = self._generator("aso")
        return almost_stochastic_order(first, second, generator, BOOTSTRAPS, 1 - LEVEL / max(1, family_size))

    def forget(self) -> None:
        """Drop the resamples, which are large; they would be drawn again if asked for."""
        self._example_scores, self._distributions = {}, {}

    def _row(
        self, scope: str, method: Rival, baseline: Rival, test: str, numbers: dict[str, Any], primary: bool = False
    ) -> Compared:
        return Compared(self.place, self.about, scope, method, baseline, test, numbers, primary)

    def _seeds(self, method: Rival, baseline: Rival) -> list[int]:
        ours, theirs = self.scores.of(self.place, method), self.scores.of(self.place, baseline)
        return [seed for seed in self.study.seeds if seed in ours and seed in theirs]

    def _differences(self, method: Rival, baseline: Rival) -> NDArray[np.float64]:
        import numpy as np

        ours, theirs = self.scores.of(self.place, method), self.scores.of(self.place, baseline)
        return np.array([ours[seed] - theirs[seed] for seed in self._seeds(method, baseline)], dtype=np.float64)

    def _generator(self, *names: str) -> np.random.Generator:
        """Drawn for the place and not for the pair, so that all pairs see the same resamples."""
        from ftbench.metrics.resampling import generator_for

        return generator_for(*self.place, *names)

    def _permuted(self, differences: NDArray[np.float64]) -> dict[str, Any]:
        from ftbench.statistics.intervals import bootstrap_mean_interval
        from ftbench.statistics.permutation import sign_flip_p

        interval = bootstrap_mean_interval(differences, self._generator("bca"), self.study.statistics.resamples)
        low, high = interval or (None, None)
        return {"p_value": sign_flip_p(differences, self._generator("signs")), "ci_low": low, "ci_high": high}

    def _artifacts(self, rival: Rival, seeds: list[int]) -> list[str]:
        return [self.scores.artifacts[self.place.task, self.place.model, rival, seed] for seed in seeds]

    def _complete(self, method: Rival, baseline: Rival) -> bool:
        assert self.examples is not None
        seeds = self._seeds(method, baseline)
        wanted = self._artifacts(method, seeds) + self._artifacts(baseline, seeds)
        return all(artifact in self.examples.parts for artifact in wanted)

    def _mcnemar(self, method: Rival, baseline: Rival) -> dict[str, Any]:
        from ftbench.statistics.permutation import mcnemar_over_seeds

        assert self.examples is not None
        seeds = self._seeds(method, baseline)
        first, second = (self.examples.right(self._artifacts(rival, seeds)) for rival in (method, baseline))
        ahead, behind, p_value = mcnemar_over_seeds(first, second)
        return {"p_value": p_value, "statistic": float(ahead - behind), "n_examples": first.shape[1]}

    def _joint(self, method: Rival, baseline: Rival, observed: float) -> dict[str, Any]:
        from ftbench.statistics.bootstrap import paired_difference

        seeds = tuple(self._seeds(method, baseline))
        found = paired_difference(self._distribution(method, seeds), self._distribution(baseline, seeds), observed)
        low, high = found.interval or (None, None)
        assert self.examples is not None
        rows = len(self.examples.uids)
        return {"p_value": found.p_value, "ci_low": low, "ci_high": high, "n_examples": rows,
                "resamples": self.study.statistics.resamples}  # fmt: skip

    def _distribution(self, rival: Rival, seeds: tuple[int, ...]) -> NDArray[np.float64]:
        """Mean of a method over resampled seeds, on resampled examples: (resamples,)."""
        import numpy as np

        from ftbench.statistics.bootstrap import over_seeds, seed_shares

        key = (rival, seeds)
        if key not in self._distributions:
            if not self._example_scores:
                self._resample_examples()
            generator = self._generator("seeds", *map(str, seeds))
            shares = seed_shares(len(seeds), generator, self.study.statistics.resamples)
            scores = np.stack([self._example_scores[rival, seed] for seed in seeds])
            self._distributions[key] = over_seeds(scores, shares)
        return self._distributions[key]

    def _resample_examples(self) -> None:
        """Scores of every run of the place on the same resampled examples."""
        from ftbench.comparing.scores import rivals
        from ftbench.statistics.bootstrap import resampled_scores

        assert self.examples is not None
        task, model = self.place.task, self.place.model
        members = {
            (rival, seed): self.scores.artifacts[task, model, rival, seed]
            for rival in rivals(self.study)
            for seed in self.scores.of(self.place, rival)
            if self.scores.artifacts[task, model, rival, seed] in self.examples.parts
        }
        rows, metric = len(self.examples.uids), self.examples.metric
        found = resampled_scores(
            self.examples.stacked(list(members.values())),
            lambda sums: metric.from_parts(sums, rows),
            self._generator("examples"),
            self.study.statistics.resamples,
        )
        self._example_scores = dict(zip(members, found, strict=True))
