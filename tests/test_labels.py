"""Reading logits in a set's labels: by name, under both rules of merging."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbench.config.errors import FtbenchError
from ftbench.data.labels import map_logits, softmax

NLI = ["entailment", "neutral", "contradiction"]
TWO_WAY = ["entailment", "not_entailment"]
TO = {"entailment": "entailment", "neutral": "not_entailment", "contradiction": "not_entailment"}


def test_the_two_rules_disagree_where_two_labels_share_the_mass() -> None:
    logits = np.log([[0.40, 0.35, 0.25]])
    merged, probabilities = map_logits(logits, NLI, TWO_WAY, {"rule": "argmax_then_merge", "to": TO})
    summed, same = map_logits(logits, NLI, TWO_WAY, {"rule": "sum_then_argmax", "to": TO})
    assert (merged.tolist(), summed.tolist()) == ([0], [1])
    np.testing.assert_allclose(probabilities, [[0.40, 0.60]])
    np.testing.assert_array_equal(probabilities, same)


def test_the_best_label_is_merged_whatever_the_order_of_the_labels() -> None:
    logits = np.log([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        labels = [NLI[index] for index in order]
        pred, _ = map_logits(
            logits[:, order],
            labels,
            TWO_WAY[::-1],
            {"rule": "argmax_then_merge", "to": dict(reversed(TO.items()))},
        )
        assert [TWO_WAY[::-1][index] for index in pred] == ["not_entailment", "entailment"]


@given(st.permutations(range(4)), st.permutations(range(4)), st.integers(0, 1000))
def test_the_order_of_labels_never_matters(head: list[int], own: list[int], seed: int) -> None:
    names = ["a", "b", "c", "d"]
    logits = np.random.default_rng(seed).normal(size=(5, 4)).astype(np.float32)
    set_labels = [names[index] for index in own]
    pred, probabilities = map_logits(logits[:, head], [names[index] for index in head], set_labels)
    assert [set_labels[index] for index in pred] == [names[index] for index in logits.argmax(axis=1)]
    np.testing.assert_allclose(probabilities, softmax(logits)[:, own], rtol=1e-12)


def test_equal_names_in_equal_order_give_plain_softmax_in_double_precision() -> None:
    from scipy.special import softmax as reference

    logits = np.array([[1000.0, 999.0, -1000.0]], dtype=np.float32)
    pred, probabilities = map_logits(logits, NLI, NLI)
    assert pred.tolist() == [0]
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities, reference(logits.astype(np.float64), axis=1), rtol=1e-14)


def test_different_names_without_a_map_are_refused() -> None:
    with pytest.raises(FtbenchError, match=r"set `rte`.*not_entailment.*no map"):
        map_logits(np.zeros((1, 3)), NLI, TWO_WAY, where="set `rte`")


@pytest.mark.parametrize("to", [{**TO, "unknown": "entailment"}, {**TO, "neutral": "unknown"}])
def test_a_map_with_labels_that_nobody_has_is_refused(to: dict[str, str]) -> None:
    with pytest.raises(FtbenchError, match="unknown"):
        map_logits(np.zeros((1, 3)), NLI, TWO_WAY, {"rule": "argmax_then_merge", "to": to})


def test_logits_of_another_width_and_unknown_rules_are_refused() -> None:
    with pytest.raises(FtbenchError, match="shape"):
        map_logits(np.zeros((1, 2)), NLI, NLI)
    with pytest.raises(FtbenchError, match="first_wins"):
        map_logits(np.zeros((1, 3)), NLI, TWO_WAY, {"rule": "first_wins", "to": TO})
    with pytest.raises(FtbenchError, match="twice"):
        map_logits(np.zeros((1, 2)), ["a", "a"], ["a"])


def test_no_prediction_comes_from_numbers_that_are_none_or_labels_that_stand_for_none() -> None:
    logits = np.array([[0.0, np.nan, 1.0], [0.0, 0.0, np.inf], [0.0, 5.0, 1.0], [5.0, 0.0, 0.0]])
    partial = {
        "rule": "argmax_then_merge",
        "to": {"entailment": "entailment", "contradiction": "not_entailment"},
    }
    pred, _ = map_logits(logits, NLI, TWO_WAY, partial)
    assert pred.tolist() == [-1, -1, -1, 0]


def test_no_rows_give_no_predictions() -> None:
    pred, probabilities = map_logits(np.zeros((0, 3)), NLI, TWO_WAY, {"rule": "sum_then_argmax", "to": TO})
    assert (pred.shape, probabilities.shape) == ((0,), (0, 2))
