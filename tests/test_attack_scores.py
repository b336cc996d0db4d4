"""Rates of attacks and tests between two methods, against numbers worked out by hand."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from ftbench.statistics.attacks import attack_scores, fooled_in_pairs


def test_rates_are_those_counted_by_hand() -> None:
    status = ["success", "failed", "skipped", "success", "budget", "error", "skipped", "success"]
    right = [True, True, False, True, True, False, False, True]
    found = attack_scores(
        status, right, [1, 2, 0, 3, 1, 0, 0, 2], [4, 10, 5, 6, 9, 3, 2, 8], [20, 30, 1, 10, 40, 1, 1, 9]
    )
    assert (found.n, found.skipped, found.success, found.failed, found.budget, found.error) == (8, 2, 3, 1, 1, 1)
    assert found.original_accuracy == pytest.approx(5 / 8)
    assert found.accuracy_under_attack == pytest.approx(2 / 8)
    assert found.success_rate == pytest.approx(3 / 5)
    assert found.perturbed_share == pytest.approx((1 / 4 + 3 / 6 + 2 / 8) / 3)
    assert found.mean_queries == pytest.approx((20 + 30 + 10 + 40 + 1 + 9) / 6)
    wilson = binomtest(3, 5).proportion_ci(method="wilson")
    assert (found.success_low, found.success_high) == pytest.approx((wilson.low, wilson.high))


def test_an_attack_on_predictions_counts_as_one_on_right_answers_alone() -> None:
    found = attack_scores(["success", "failed", "success"], [True, False, False], [1, 1, 1], [2, 2, 2], [5, 6, 7])
    assert (found.skipped, found.success, found.original_accuracy, found.mean_queries) == (2, 1, 1 / 3, 5)


def test_without_a_right_answer_there_is_no_success_rate() -> None:
    found = attack_scores(["skipped", "skipped"], [False, False], [0, 0], [3, 3], [1, 1])
    assert (found.original_accuracy, found.success_rate, found.success_low, found.mean_queries) == (0, None, None, None)


def test_two_methods_are_compared_on_the_examples_that_both_had_right() -> None:
    first = {"a": True, "b": True, "c": True, "d": True, "e": False, "only": True}
    second = {"a": False, "b": False, "c": False, "d": True, "e": True, "other": False}
    found = fooled_in_pairs([(first, second)])
    assert (found.n_examples, found.first_more, found.second_more) == (5, 3, 1)
    assert (found.first_rate, found.second_rate) == (pytest.approx(4 / 5), pytest.approx(2 / 5))
    assert found.p_value == pytest.approx(binomtest(1, 4).pvalue)
    # a second pair of seeds that says the opposite leaves no example on which one is ahead
    again = fooled_in_pairs([(first, second), (second, first)])
    assert (again.first_more, again.second_more, again.p_value) == (0, 0, 1.0)
