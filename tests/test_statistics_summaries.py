"""Aggregates, ranks, failure rates and power: against published numbers, printed tables, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from golden import case, needs_golden

from ftbench.statistics.aggregate import (
    improvement_interval,
    improvement_over_tasks,
    interquartile_mean,
    optimality_gap,
    stratified_indices,
    stratified_interval,
)
from ftbench.statistics.failures import failure_rate
from ftbench.statistics.power import detectable_difference, power, seeds_needed
from ftbench.statistics.ranks import critical_difference, ranking


@needs_golden
def test_the_interquartile_mean_and_its_interval_are_the_reference_ones() -> None:
    given = case("iqm_bootstrap")
    values = given.content["values"]
    first, second = np.array(values["X"]), np.array(values["Y"])
    index = next(iter(given.inputs.values())).numpy().astype(np.int64)  # (resamples, runs, tasks)
    assert interquartile_mean(first.ravel()) == pytest.approx(values["iqm_x"], abs=1e-12)
    assert interquartile_mean(second.ravel()) == pytest.approx(values["iqm_y"], abs=1e-12)
    assert optimality_gap(first) == pytest.approx(values["optimality_gap_x"], abs=1e-12)
    found = stratified_interval(list(first.T), list(np.moveaxis(index, 2, 0)))
    assert found == pytest.approx(tuple(values["interval_x"]), abs=1e-12)
    improvement = improvement_over_tasks(list(first.T), list(second.T))
    assert improvement == pytest.approx(values["probability_of_improvement"], abs=1e-12)


def test_the_interquartile_mean_is_scipys_trimmed_mean() -> None:
    for count in (1, 3, 4, 7, 40):
        scores = np.random.default_rng(count).normal(size=count)
        assert interquartile_mean(scores) == pytest.approx(scipy.stats.trim_mean(scores, 0.25))


def test_the_stratified_interval_covers_the_truth_nearly_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    means = np.array([0.4, 0.6, 0.7, 0.5])
    large = np.concatenate([generator.normal(mean, 0.05, 50_000) for mean in means])
    truth = float(interquartile_mean(large))
    covered = 0
    for _ in range(400):
        tasks = [generator.normal(mean, 0.05, 12) for mean in means]
        interval = stratified_interval(tasks, stratified_indices([12] * 4, generator, 400))
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    assert 0.89 < covered / 400 < 0.99


def test_the_interval_of_the_improvement_contains_it_and_shrinks_with_runs() -> None:
    generator = np.random.default_rng(2)
    widths = []
    for runs in (5, 50):
        first = [generator.normal(0.1, 0.1, runs) for _ in range(3)]
        second = [generator.normal(0.0, 0.1, runs) for _ in range(3)]
        interval = improvement_interval(first, second, generator, 500)
        assert interval is not None
        assert interval[0] <= improvement_over_tasks(first, second) <= interval[1]
        widths.append(interval[1] - interval[0])
    assert widths[1] < 0.6 * widths[0]


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_uses_the_quantiles_of_the_printed_table(methods: int, quantile: float) -> None:
    expected = quantile * (methods * (methods + 1) / (6 * 14)) ** 0.5
    assert critical_difference(methods, 14) == pytest.approx(expected, rel=5e-4)


def test_ranks_share_ties_and_friedman_is_scipys() -> None:
    scores = np.array([[0.9, 0.8, 0.8], [0.7, 0.9, 0.6], [0.9, 0.5, 0.4], [0.8, 0.7, 0.7]])
    found = ranking(scores)
    assert found.mean_ranks == pytest.approx([1.25, (2.5 + 1 + 2 + 2.5) / 4, (2.5 + 3 + 3 + 2.5) / 4])
    assert found.friedman_p == pytest.approx(scipy.stats.friedmanchisquare(*scores.T).pvalue)
    alone = ranking(scores[:1])
    assert (alone.critical_difference, alone.friedman_p) == (None, None)
    assert ranking(np.ones((3, 2))).friedman_p == 1.0


@pytest.mark.parametrize(("failed", "runs"), [(0, 5), (3, 5), (5, 5), (7, 100)])
def test_the_failure_rate_has_scipys_interval(failed: int, runs: int) -> None:
    found = failure_rate(failed, runs)
    interval = scipy.stats.binomtest(failed, runs).proportion_ci(method="wilson")
    assert found == pytest.approx((failed / runs, interval.low, interval.high), abs=1e-9)
    assert failure_rate(0, 0) is None


@pytest.mark.parametrize(("size", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_the_number_of_seeds_is_that_of_printed_power_tables(size: float, pairs: int) -> None:
    assert seeds_needed(size * 0.02, 0.02) == pairs


def test_power_is_what_the_test_reaches_in_simulation_and_inverts() -> None:
    generator = np.random.default_rng(3)
    trials = generator.normal(0.012, 0.01, size=(4000, 8))
    claims = scipy.stats.ttest_1samp(trials, 0, axis=1).pvalue < 0.05
    assert claims.mean() == pytest.approx(power(0.012, 0.01, 8), abs=0.025)
    smallest = detectable_difference(0.01, 8)
    assert smallest is not None
    assert power(smallest, 0.01, 8) == pytest.approx(0.8, abs=1e-6)
    assert seeds_needed(smallest, 0.01) == 8
    assert seeds_needed(1e-9, 0.01) is None
    assert (detectable_difference(0.01, 1), power(0.1, 0.01, 1)) == (None, 0.0)
    assert power(1.0, 0.001, 5) == 1.0
