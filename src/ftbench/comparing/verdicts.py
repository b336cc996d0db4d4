"""All rows of the table `comparisons`: which pairs are tested where, in which family, with which verdict.

Called by the stage `compare`. A family holds one kind of test only, so that adding a second opinion never weakens the
first; the paired t-test over seeds is the one whose verdict leaderboards show.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ftbench.comparing.pairs import Compared, Pairing
from ftbench.comparing.scores import Place, Rival, Scores, rivals

if TYPE_CHECKING:
    from ftbench.comparing.examples import SetExamples
    from ftbench.config.study import Study
    from ftbench.paths import StudyPaths


def comparisons(study: Study, scores: Scores, places: StudyPaths | None = None) -> Iterator[dict[str, Any]]:
    """Rows of `comparisons` without `study`; with `places`, the study's folder, predictions are resampled too."""
    from ftbench.statistics.baseline import baseline_of

    named = baseline_of(study)
    reference = Rival(*named) if named else None
    found: list[Compared] = []
    pairings: dict[Place, Pairing] = {}
    for task, model in dict.fromkeys((place.task, place.model) for place in scores.places):
        here = [place for place in scores.places if (place.task, place.model) == (task, model)]
        examples = _examples(study, scores, here, places) if places else {}
        for place in here:
            leads = scores.leads(study, place)
            pairing = Pairing(
                study, place, scores.places[place], scores, examples.get(place.eval_set) if leads else None
            )
            found += _at(study, pairing, reference, leads)
            pairings[place] = pairing
            pairing.forget()
    yield from _judged(study, found, pairings)


def _examples(study: Study, scores: Scores, here: list[Place], places: StudyPaths) -> dict[str, SetExamples]:
    from ftbench.comparing.examples import read_examples

    task, model = here[0].task, here[0].model
    artifacts = [name for (one, other, _, _), name in scores.artifacts.items() if (one, other) == (task, model)]
    metrics = {place.eval_set: place.metric for place in here if scores.leads(study, place)}
    return read_examples(places, task, artifacts, metrics)


def _at(study: Study, pairing: Pairing, reference: Rival | None, leads: bool) -> Iterator[Compared]:
    """The comparisons at one place; beside the leading metric only those with the baseline, by seeds."""
    every = rivals(study)
    pairs = [("baseline", rival, reference) for rival in every if reference and rival != reference]
    if study.statistics.pairs and leads:
        # the baseline last, so that differences with it have one sign everywhere
        ordered = [rival for rival in every if rival != reference] + ([reference] if reference else [])
        pairs += [("pairs", one, other) for one, other in combinations(ordered, 2)]
    for scope, method, baseline in pairs:
        assert baseline is not None
        yield pairing.by_seed(scope, method, baseline)
        if leads:
            yield from pairing.further(scope, method, baseline)


def _family(study: Study, row: Compared) -> str:
    place = row.place
    named = {
        "metric": f"{place.task} / {place.model} / {place.metric}",
        "set": f"{place.task} / {place.model} / {place.metric} / {place.eval_set}",
        "study": "study",
    }[study.statistics.family]
    parts = [named] + (["all pairs"] if row.scope == "pairs" else [])
    return " / ".join(parts if row.primary else [*parts, row.test])


def _judged(study: Study, found: list[Compared], pairings: dict[Place, Pairing]) -> Iterator[dict[str, Any]]:
    from ftbench.statistics.families import judge

    families: dict[str, list[Compared]] = {}
    for row in found:
        families.setdefault(_family(study, row), []).append(row)
    verdicts: dict[int, dict[str, Any]] = {}
    for name, family in families.items():
        if family[0].test == "aso":
            size = sum(row.testable for row in family)
            for row in family:
                verdicts[id(row)] = {"family": name, **_dominance(row, pairings[row.place], size)}
            continue
        judged = judge(family, higher_is_better=True, adjustment=study.statistics.adjustment)
        for row, verdict in zip(family, judged, strict=True):
            verdicts[id(row)] = {"family": name, **verdict.__dict__}
    for row in found:
        yield {
            **row.place._asdict(),
            "role": row.about.role,
            "higher_is_better": row.about.higher_is_better,
            "scope": row.scope,
            "method": row.method.method,
            "variant": row.method.variant,
            "baseline": row.baseline.method,
            "baseline_variant": row.baseline.variant,
            "test": row.test,
            "primary": row.primary,
            **row.numbers,
            **verdicts[id(row)],
        }


def _dominance(row: Compared, pairing: Pairing, size: int) -> dict[str, Any]:
    from ftbench.statistics.dominance import STRICT

    found = pairing.dominance(row.method, row.baseline, size) if row.testable else None
    if found is None:
        return {"family_size": size, "verdict": "too few seeds"}
    forward, backward = found
    word = "better" if forward < STRICT else "worse" if backward < STRICT else "no evidence"
    return {"family_size": size, "verdict": word, "statistic": forward}
