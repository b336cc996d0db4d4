"""Tests and intervals beside the paired t-test: against published numbers, against scipy, and by simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import scipy.stats
from golden import case, needs_golden

from ftbench.statistics.bootstrap import (
    example_counts,
    over_seeds,
    paired_difference,
    resampled_scores,
    seed_shares,
)
from ftbench.statistics.dominance import almost_stochastic_order, epsilon_min, violation_ratio
from ftbench.statistics.effects import probability_of_improvement, standardised_difference, win_rate
from ftbench.statistics.families import benjamini_hochberg
from ftbench.statistics.intervals import bca_interval, bootstrap_mean_interval, percentile_interval, two_sided_p
from ftbench.statistics.permutation import mcnemar_over_seeds, mcnemar_p, sign_flip_p


@needs_golden
def test_the_bootstrap_over_examples_gives_the_reference_numbers_on_the_reference_draws() -> None:
    given = case("paired_bootstrap")
    values = given.content["values"]
    index = next(iter(given.inputs.values())).numpy().astype(np.int64)
    first, second = (np.array(values[name], dtype=np.float64) for name in ("correct_a", "correct_b"))
    found = paired_difference(first[index].mean(axis=1), second[index].mean(axis=1), float((first - second).mean()))
    assert found.difference == pytest.approx(values["delta"], abs=1e-12)
    assert found.p_value == pytest.approx(values["p"], abs=1e-12)
    assert found.interval == pytest.approx(tuple(values["interval"]), abs=1e-12)


@needs_golden
def test_mcnemar_gives_the_reference_p() -> None:
    values = case("paired_bootstrap").content["values"]
    first, second = (np.array([values[name]], dtype=bool) for name in ("correct_a", "correct_b"))
    ahead, behind, p_value = mcnemar_over_seeds(first, second)
    assert (ahead, behind) == (values["mcnemar"]["a_only"], values["mcnemar"]["b_only"])
    assert p_value == pytest.approx(values["mcnemar"]["p_exact"], abs=1e-12)


@needs_golden
@pytest.mark.parametrize("number", [0, 1])
def test_almost_stochastic_order_gives_the_reference_numbers(number: int) -> None:
    pair = case("almost_stochastic_order").content["values"]["pairs"][number]
    first, second = np.array(pair["a"]), np.array(pair["b"])
    assert violation_ratio(first, second) == pytest.approx(pair["violation_ratio_ab"], abs=1e-12)
    assert violation_ratio(second, first) == pytest.approx(pair["violation_ratio_ba"], abs=1e-12)
    for one, other, expected in ((first, second, "eps_min_ab"), (second, first, "eps_min_ba")):
        one_draws, other_draws = [], []
        for seed in range(pair["seed"] + 1, pair["seed"] + 1001):
            generator = np.random.RandomState(seed)  # the reference's generator, seeded anew for each bootstrap
            one_draws.append(generator.uniform(0, 1, len(one)))
            other_draws.append(generator.uniform(0, 1, len(other)))
        found = epsilon_min(one, other, np.array(one_draws), np.array(other_draws))
        assert found == pytest.approx(pair[expected], abs=1e-9)
    ours = almost_stochastic_order(first, second, np.random.default_rng(0))
    assert ours is not None
    assert ours[0] == pytest.approx(pair["eps_min_ab"], abs=0.03)


def test_almost_stochastic_order_says_nothing_of_equal_or_few_scores() -> None:
    generator = np.random.default_rng(0)
    scores = np.array([0.7, 0.71, 0.72, 0.73])
    assert almost_stochastic_order(scores, scores[::-1].copy(), generator) == (1.0, 1.0)
    assert almost_stochastic_order(scores[:2], scores[2:], generator) is None
    ahead = almost_stochastic_order(scores + 0.1, scores, generator)
    assert ahead == pytest.approx((0.0, 1.0), abs=0.01)  # the reference leaves out the first grid point


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 9), (12, 4), (5, 5), (0, 20)])
def test_mcnemar_is_scipys_binomial_test(first: int, second: int) -> None:
    expected = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == pytest.approx(expected, rel=1e-9)


def test_sign_flips_are_counted_over_all_patterns() -> None:
    differences = np.array([0.03, -0.01, 0.02, 0.04, 0.01])
    means = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=5)]
    expected = np.mean(np.array(means) >= abs(differences.sum()) - 1e-12)
    assert sign_flip_p(differences, np.random.default_rng(0)) == expected
    result = scipy.stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert expected == pytest.approx(result.pvalue)
    assert sign_flip_p(np.full(5, 0.1), np.random.default_rng(0)) == 2 / 32
    many = np.random.default_rng(1).normal(0.3, 1, 40)
    drawn = sign_flip_p(many, np.random.default_rng(2), 20_000)
    assert drawn == pytest.approx(scipy.stats.ttest_1samp(many, 0).pvalue, abs=0.02)


def test_sign_flips_keep_their_level_on_skewed_noise() -> None:
    generator = np.random.default_rng(3)
    claims = [
        (sign_flip_p(signs * generator.exponential(1, 8), generator) or 1) <= 0.05
        for signs in generator.choice([-1.0, 1.0], size=(800, 8))
    ]
    # with 8 pairs the p values at or below 0.05 are 12 of 256; three standard errors of 800 trials are 0.023
    assert np.mean(claims) == pytest.approx(12 / 256, abs=0.023)


def test_the_bca_interval_is_scipys_on_the_same_resamples() -> None:
    values = np.random.default_rng(4).exponential(1, 25)
    result = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(5), confidence_level=0.95
    )
    left_out = np.array([np.delete(values, index).mean() for index in range(len(values))])
    found = bca_interval(float(values.mean()), result.bootstrap_distribution, left_out)
    assert found is not None
    interval = result.confidence_interval
    assert found == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_the_bca_interval_of_a_mean_covers_it_nearly_as_often_as_it_says() -> None:
    generator = np.random.default_rng(6)
    trials, covered = 600, 0
    for _ in range(trials):
        interval = bootstrap_mean_interval(generator.exponential(1, 40), generator, 600)
        assert interval is not None
        covered += interval[0] <= 1 <= interval[1]
    # on 40 skewed values it is known to fall a little short of 0.95
    assert 0.90 < covered / trials < 0.975


def test_intervals_and_p_values_are_null_where_resamples_are_undefined() -> None:
    distribution = np.concatenate([np.zeros(90), np.full(10, np.nan)])
    assert percentile_interval(distribution) is None
    assert two_sided_p(distribution) is None
    assert two_sided_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert two_sided_p(np.zeros(999)) == 1.0
    assert bca_interval(0.0, np.ones(10), np.arange(5.0)) is None


def test_resamples_draw_every_row_equally_often_and_as_many_as_there_are() -> None:
    counts = np.concatenate(list(example_counts(7, np.random.default_rng(0), 5000)), axis=1)
    assert counts.shape == (7, 5000)
    assert (counts.sum(axis=0) == 7).all()
    assert counts.mean(axis=1) == pytest.approx(np.ones(7), abs=0.06)
    assert counts.var(axis=1) == pytest.approx(np.full(7, 6 / 7), abs=0.1)
    shares = seed_shares(4, np.random.default_rng(1), 3000)
    assert shares.sum(axis=0) == pytest.approx(np.ones(3000))


def test_chunks_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = np.random.default_rng(2).random((3, 50, 2))

    def score(sums: np.ndarray) -> np.ndarray:
        return np.asarray(sums[..., 0] / sums[..., 1])

    whole = resampled_scores(parts, score, np.random.default_rng(3), 64)
    assert whole.shape == (3, 64)
    monkeypatch.setattr("ftbench.statistics.bootstrap._CHUNK", 50 * 10)
    pieces = resampled_scores(parts, score, np.random.default_rng(3), 64)
    assert pieces == pytest.approx(whole)
    ones = (parts[..., :1] > 0.5).astype(np.uint8)
    exact = resampled_scores(ones, lambda sums: sums[..., 0], np.random.default_rng(3), 64)
    assert exact == pytest.approx(np.round(exact))


def crossed(generator: np.random.Generator, seeds: int, rows: int, gain: float, spread: float) -> np.ndarray:
    """Right or wrong of two methods (2, seeds, rows): examples differ in difficulty, each run in skill."""
    difficulty = generator.normal(0, 1, rows)
    skill = 0.5 + np.array([0.0, gain])[:, None] + generator.normal(0, spread, (2, seeds))
    return (skill[..., None] - difficulty + generator.normal(0, 1, (2, seeds, rows)) > 0).astype(np.uint8)


def joint_difference(right: np.ndarray, generator: np.random.Generator, resamples: int = 400) -> float | None:
    seeds, rows = right.shape[1:]
    scores = resampled_scores(
        right.reshape(2 * seeds, rows, 1), lambda sums: sums[..., 0] / rows, generator, resamples
    ).reshape(2, seeds, resamples)
    shares = seed_shares(seeds, generator, resamples)
    means = [over_seeds(scores[side], shares) for side in (0, 1)]
    return paired_difference(means[0], means[1], float(right[0].mean() - right[1].mean())).p_value


@pytest.mark.parametrize(("seeds", "highest"), [(20, 0.085), (5, 0.14)])
def test_the_joint_bootstrap_keeps_its_level_with_many_seeds_and_not_with_five(seeds: int, highest: float) -> None:
    generator = np.random.default_rng(10)
    trials = 300
    claims = [
        (joint_difference(crossed(generator, seeds, 150, 0.0, 0.3), generator) or 1) < 0.05 for _ in range(trials)
    ]
    # three standard errors of 300 trials at 0.05 are 0.038; resampling five seeds understates their variance
    assert 0.01 < np.mean(claims) < highest


def test_the_joint_bootstrap_sees_the_variance_of_seeds_that_examples_alone_do_not() -> None:
    generator = np.random.default_rng(11)
    wrong = {"examples": 0, "joint": 0}
    for _ in range(150):
        right = crossed(generator, 10, 400, 0.0, 0.6)
        _, _, p_examples = mcnemar_over_seeds(right[0].astype(bool), right[1].astype(bool))
        wrong["examples"] += p_examples < 0.05
        wrong["joint"] += (joint_difference(right, generator, 300) or 1) < 0.05
    assert wrong["examples"] > 60  # far above 5 % of 150: examples say nothing about other seeds
    assert wrong["joint"] < 25


def test_the_false_discovery_rate_adjustment_is_scipys() -> None:
    p_values = np.random.default_rng(12).random(30) ** 3
    assert benjamini_hochberg(list(p_values)) == pytest.approx(scipy.stats.false_discovery_control(p_values))
    assert benjamini_hochberg([]) == []


def test_effect_sizes_on_cases_done_by_hand() -> None:
    differences = np.array([1.0, 2.0, 3.0])
    assert standardised_difference(differences) == pytest.approx(2.0 * (1 - 3 / 7))
    assert standardised_difference(differences[:2]) is None
    assert standardised_difference(np.full(4, 0.1)) is None
    assert probability_of_improvement(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == (0.5 + 0 + 1 + 1) / 4
    assert win_rate(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 4.0])) == 0.5
    u = scipy.stats.mannwhitneyu([0.3, 0.9, 0.5], [0.4, 0.5])
    expected = u.statistic / 6
    assert probability_of_improvement(np.array([0.3, 0.9, 0.5]), np.array([0.4, 0.5])) == pytest.approx(expected)
    assert not math.isnan(expected)
