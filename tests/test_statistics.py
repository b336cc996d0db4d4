"""Paired comparisons over seeds: against scipy, against Holm written out, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ftbench.statistics.families import holm, judge
from ftbench.statistics.paired import compare

TEN = range(10)


def by_seed(values: object) -> dict[int, float]:
    return {seed: float(value) for seed, value in enumerate(np.asarray(values))}


@pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
def test_the_test_and_the_interval_are_those_of_scipy(count: int) -> None:
    generator = np.random.default_rng(count)
    ours, theirs = generator.normal(0.8, 0.02, count), generator.normal(0.79, 0.02, count)
    found = compare(by_seed(ours), by_seed(theirs), range(count))
    expected = scipy.stats.ttest_rel(ours, theirs)
    interval = expected.confidence_interval(0.95)
    assert found.test == "paired_t"
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.difference == pytest.approx(np.mean(ours - theirs))


def test_seeds_are_paired_by_number_and_missing_ones_are_counted() -> None:
    ours = {0: 0.9, 1: 0.8, 3: 0.7, 4: 0.95}
    theirs = {4: 0.5, 3: 0.6, 2: 0.1, 0: 0.7}
    found = compare(ours, theirs, range(5))
    assert (found.n_pairs, found.n_missing) == (3, 2)
    assert found.difference == pytest.approx(np.mean([0.2, 0.1, 0.45]))
    assert (found.mean, found.baseline_mean) == (None, None)
    complete = compare(ours, ours, [0, 1])
    assert complete.n_missing == 0
    assert complete.mean == pytest.approx(0.85)


def independent_holm(p_values: list[float]) -> list[float]:
    """The definition by rejection: the smallest level at which step-down rejects the hypothesis."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    ranked = np.array(p_values)[order] * np.arange(count, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(ranked), 1.0)
    result = np.empty(count)
    result[order] = adjusted
    return [float(value) for value in result]


@given(st.lists(st.floats(0, 1), max_size=12))
@settings(deadline=None)
def test_holm_agrees_with_a_second_implementation(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(independent_holm(p_values))


def test_holm_on_a_case_done_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize(
    ("gain", "higher", "word"), [(0.1, True, "better"), (0.1, False, "worse"), (-0.1, False, "better")]
)
def test_the_verdict_follows_the_direction_of_the_metric(gain: float, higher: bool, word: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 10)
    found = compare(by_seed(0.7 + gain + noise), by_seed(np.full(10, 0.7)), TEN)
    assert [item.verdict for item in judge([found], higher)] == [word]


def test_fewer_than_five_pairs_give_no_verdict_and_do_not_enter_the_family() -> None:
    noise = np.random.default_rng(0).normal(0, 0.001, 10)
    strong = compare(by_seed(0.8 + noise), by_seed(np.full(10, 0.7)), TEN)
    few = compare(by_seed(0.8 + noise[:4]), by_seed(np.full(10, 0.7)), TEN)
    none = compare({}, by_seed(np.full(10, 0.7)), TEN)
    found = judge([few, strong, none], True)
    assert [item.verdict for item in found] == ["too few seeds", "better", "too few seeds"]
    assert [item.family_size for item in found] == [1, 1, 1]
    assert found[0].p_adjusted is None
    assert found[1].p_adjusted == strong.p_value
    assert few.p_value is not None
    assert (none.test, none.difference) == ("none", None)


def test_equal_differences_are_no_infinite_evidence() -> None:
    theirs = np.array([0.70, 0.72, 0.69, 0.71, 0.73])
    shifted = compare(by_seed(theirs + 0.01), by_seed(theirs), range(5))
    assert (shifted.test, shifted.p_value) == ("sign_flip", 0.0625)
    assert (shifted.ci_low, shifted.ci_high) == (None, None)
    assert judge([shifted], True)[0].verdict == "no evidence"
    same = compare(by_seed(theirs), by_seed(theirs), range(5))
    assert (same.difference, same.p_value, same.ci_low, same.ci_high) == (0.0, 1.0, 0.0, 0.0)
    assert judge([same], True)[0].verdict == "no evidence"


def test_a_single_pair_has_a_difference_and_nothing_else() -> None:
    found = compare({0: 0.8}, {0: 0.7}, [0])
    assert (found.n_pairs, found.p_value, found.test) == (1, None, "none")
    assert found.difference == pytest.approx(0.1)


def test_under_the_null_a_family_claims_something_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    trials, claims = 1500, 0
    for _ in range(trials):
        theirs = generator.normal(0.7, 0.02, 8)
        family = [compare(by_seed(theirs + generator.normal(0, 0.01, 8)), by_seed(theirs), range(8)) for _ in range(4)]
        claims += any(item.verdict in ("better", "worse") for item in judge(family, True))
    # Holm keeps it at most 0.05; three standard errors of 1500 trials are 0.017
    assert 0.02 < claims / trials < 0.067


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    generator = np.random.default_rng(8)
    trials, covered = 2000, 0
    for _ in range(trials):
        theirs = generator.normal(0.7, 0.02, 5)
        found = compare(by_seed(theirs + generator.normal(0.01, 0.01, 5)), by_seed(theirs), range(5))
        assert found.ci_low is not None
        assert found.ci_high is not None
        covered += found.ci_low <= 0.01 <= found.ci_high
    # three standard errors of 2000 trials at 0.95 are 0.015
    assert covered / trials == pytest.approx(0.95, abs=0.016)
