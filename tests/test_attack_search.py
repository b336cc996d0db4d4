"""The greedy search against a victim whose answers can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_victim import BagOfWords, Synonyms

from ftbench.attacking.contract import Case, Constraint, Subject, Verdict
from ftbench.attacking.engine import attacked
from ftbench.attacking.search import Outcome
from ftbench.attacking.victim import Pair, Victim
from ftbench.attacking.words import Words

WEIGHTS = {"good": 2.0, "fine": 1.0, "fair": 0.5, "nice": 1.5, "meh": -1.0, "odd": -0.2, "bad": -2.0}
LISTED = {"good": ["fine", "fair", "meh"], "nice": ["odd", "fine"], "film": ["movie"]}


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def one(text: str, attack: Synonyms, gold: int = 1, other: str | None = None) -> tuple[Outcome, BagOfWords]:
    victim = BagOfWords(WEIGHTS)
    subject = Subject("u", text, other, gold) if other is None else Subject("u", other, text, gold)
    ((outcome,),) = attacked(attack, [subject], victim, seed=0)
    return outcome, victim


@given(st.text(max_size=60))
def test_a_text_is_rebuilt_exactly_from_its_words(text: str) -> None:
    words = Words.of(text)
    assert words.text == text
    assert all(word.strip() == word and word for word in words.words)


def test_words_keep_their_apostrophes_marks_and_hyphens_and_leave_punctuation_outside() -> None:
    text = "  \u201cWe don't re-use it,\u201d she said\u2026 \u0645\u064f\u062d\u0650\u0628 100%!"
    words = Words.of(text)
    assert words.words == ("We", "don't", "re-use", "it", "she", "said", "\u0645\u064f\u062d\u0650\u0628", "100")
    assert words.replaced({1: "never"}).text == text.replace("don't", "never")
    assert words.without(2).text == text.replace("re-use ", "")


def test_the_search_takes_the_best_candidate_of_the_most_important_word_and_stops_when_the_label_flips() -> None:
    outcome, victim = one("a good film , nice", Synonyms(LISTED))
    # the unknown word costs good 2.0 of 3.5 and nice 1.5: good goes first, by `meh` (-3.0), which leaves 0.5;
    # then nice by `odd` (-1.7), which leaves -1.2
    assert (outcome.status, outcome.text_after) == ("success", "a meh film , odd")
    assert outcome.changed_positions == [1, 3]
    assert outcome.p_true_before == pytest.approx(sigmoid(3.5))
    assert outcome.p_true_after == pytest.approx(sigmoid(-1.2))
    assert (outcome.pred_before, outcome.pred_after, outcome.n_words) == (1, 0, 4)
    # 1 text, 4 words, 3 candidates of good, 2 of nice
    assert outcome.queries == 1 + 4 + 3 + 2 == sum(map(len, victim.asked))


def test_a_failed_attack_keeps_only_what_lowers_the_probability() -> None:
    outcome, _ = one("good film", Synonyms({"good": ["nice"], "film": ["fine"]}))
    assert (outcome.status, outcome.text_after) == ("failed", "nice film")
    assert outcome.p_true_after == pytest.approx(sigmoid(1.5))


def test_the_variant_of_textfooler_also_takes_a_change_that_is_worse_than_the_text_before_it() -> None:
    weights = {"good": 3.0, "fair": 0.5, "nice": 0.6, "better": 0.8}
    for accept, after in (("current", "fair nice"), ("original", "fair better")):
        victim = BagOfWords(weights)
        attack = Synonyms({"good": ["fair"], "nice": ["better"]}, accept=accept)
        ((outcome,),) = attacked(attack, [Subject("u", "good nice", None, 1)], victim, seed=0)
        assert (outcome.status, outcome.text_after) == ("failed", after)


def test_an_example_that_was_wrong_before_is_skipped_and_costs_one_query() -> None:
    outcome, _ = one("good film", Synonyms(LISTED), gold=0)
    assert (outcome.status, outcome.queries, outcome.text_after, outcome.pred_after) == ("skipped", 1, None, 1)


@pytest.mark.parametrize("text", ["", " ... !", "film"])
def test_a_text_with_nothing_to_change_is_a_failed_attack(text: str) -> None:
    victim = BagOfWords({})
    ((outcome,),) = attacked(Synonyms({}), [Subject("u", text, None, 0)], victim, seed=0)
    assert (outcome.status, outcome.queries, outcome.text_before) == ("failed", 1, text)


def test_equal_words_are_tried_from_left_to_right() -> None:
    outcome, _ = one("good , good , good", Synonyms({"good": ["fine"]}, changed_words=2))
    assert outcome.changed_positions == [0, 1]


class Listed(Victim):
    """Three labels, probabilities by text; those of other texts are of the first."""

    unknown = "[UNK]"

    def __init__(self, listed: dict[str, list[float]]) -> None:
        self.listed = listed

    def inputs(self, pairs: Sequence[Pair]) -> list[Hashable]:
        return [first for first, _ in pairs]

    def probabilities(self, inputs: Sequence[Any]) -> np.ndarray:
        return np.array([self.listed.get(text, next(iter(self.listed.values()))) for text in inputs])


def test_a_deletion_that_flips_the_label_ranks_its_word_higher_by_what_the_new_class_gains() -> None:
    # without `one` the true class loses 0.24 and stays ahead; without `two` it loses 0.2, and label 1 gains 0.45
    listed = {"one two": [0.6, 0.1, 0.3], "two": [0.36, 0.30, 0.34], "one": [0.4, 0.55, 0.05]}
    for gain, first in ((True, 1), (False, 0)):
        attack = Synonyms({"one": ["x"], "two": ["y"]}, ranking="delete", flip_gain=gain, changed_words=1)
        victim = Listed({**listed, "x two": [0.59, 0.11, 0.3], "one y": [0.59, 0.11, 0.3]})
        ((outcome,),) = attacked(attack, [Subject("u", "one two", None, 0)], victim, seed=0)
        assert outcome.changed_positions == [first]


def test_a_victim_without_a_number_is_an_error_of_the_example_alone() -> None:
    nothing = [float("nan")] * 3
    victim = Listed({"good": [0.6, 0.2, 0.2], "odd": nothing, "good odd": [0.6, 0.2, 0.2], "[UNK] odd": nothing})
    subjects = [Subject(str(number), text, None, 0) for number, text in enumerate(("odd", "good odd", "good"))]
    (outcomes,) = attacked(Synonyms({}), subjects, victim, seed=0)
    assert [outcome.status for outcome in outcomes] == ["error", "error", "failed"]
    assert [outcome.p_true_before for outcome in outcomes] == [None, 0.6, 0.6]


def test_weighted_saliency_orders_by_saliency_times_the_best_gain() -> None:
    # by saliency alone good (2.0) goes first; its candidate gains little, so nice does
    outcome, _ = one(
        "good nice",
        Synonyms({"good": ["good2", "fine"], "nice": ["meh"]}, ranking="weighted_saliency", changed_words=1),
    )
    text = {"good": 2.0, "nice": 1.5}
    total = sum(text.values())
    saliency = {word: sigmoid(total) - sigmoid(total - weight) for word, weight in text.items()}
    gains = {"good": max(sigmoid(total) - sigmoid(total - 2), sigmoid(total) - sigmoid(total - 1)),
             "nice": sigmoid(total) - sigmoid(total - 2.5)}  # fmt: skip
    scores = {word: math.exp(saliency[word]) * gains[word] for word in text}
    assert max(scores, key=scores.__getitem__) == "nice"
    assert (outcome.status, outcome.text_after, outcome.changed_positions) == ("failed", "good meh", [1])


class Allowed(Constraint):
    """Measures similarity by a list; words outside it are refused."""

    def __init__(self, similarities: dict[str, float]) -> None:
        self.similarities, self.cases = similarities, 0

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        self.cases += len(cases)
        return [
            Verdict(case.replacement in self.similarities, self.similarities.get(case.replacement)) for case in cases
        ]


def test_of_candidates_that_flip_the_label_the_most_similar_is_taken() -> None:
    constraint = Allowed({"bad": 0.2, "meh": 0.9, "fine": 0.99})
    outcome, _ = one("good", Synonyms({"good": ["bad", "meh", "fine", "odd"]}, [constraint]))
    assert (outcome.status, outcome.text_after, outcome.similarity) == ("success", "meh", pytest.approx(0.9))
    assert constraint.cases == 4
    assert one("good", Synonyms({"good": ["odd"]}, [constraint]))[0].status == "failed"


@pytest.mark.parametrize(("budget", "status", "queries"), [(10, "success", 10), (9, "success", 9), (8, "budget", 8),
                                                           (3, "budget", 3), (1, "budget", 1)])  # fmt: skip
def test_a_cut_at_the_budget_is_no_success(budget: int, status: str, queries: int) -> None:
    outcome, victim = one("a good film , nice", Synonyms(LISTED, budget=budget))
    assert (outcome.status, outcome.queries) == (status, queries) == (status, sum(map(len, victim.asked)))


def test_candidates_and_words_are_capped_and_repeats_cost_nothing() -> None:
    outcome, victim = one("good good", Synonyms({"good": ["good", "fine", "fine", "fair", "meh"]}, most_candidates=2))
    assert outcome.text_after == "fair fair"
    assert outcome.queries == 1 + 2 + 2 + 2
    assert all(len(set(batch)) == len(batch) for batch in victim.asked)
    assert one("film good", Synonyms(LISTED, most_words=1))[0].text_after is None


def test_only_the_chosen_text_of_a_pair_changes() -> None:
    outcome, victim = one("good", Synonyms({"good": ["bad"]}), other="nice film")
    assert (outcome.text_before, outcome.text_after) == ("good", "bad")
    assert all(text.startswith("nice film | ") for batch in victim.asked for text in batch)
    outcome, victim = one("good", Synonyms({"nice": ["bad"]}, text="text_a"), other="nice film")
    assert all(text.endswith(" | good") for batch in victim.asked for text in batch)


def test_stop_words_are_never_changed(tmp_path: Any) -> None:
    assert one("good", Synonyms({"good": ["bad"]}, stop_words="english"))[0].status == "success"
    file = tmp_path / "stop.txt"
    file.write_text("Good\n")
    assert one("Good good", Synonyms({"good": ["bad"], "Good": ["bad"]}, stop_words=str(file)))[0].status == "failed"


@given(st.lists(st.sampled_from(sorted(LISTED)), min_size=1, max_size=4), st.integers(1, 9))
def test_with_additive_evidence_the_search_is_as_good_as_trying_everything(words: list[str], together: int) -> None:
    text = " ".join(words)
    lowest = min(
        sum(WEIGHTS.get(word, 0.0) for word in choice)
        for choice in product(*([word, *LISTED.get(word, ())] for word in words))
    )
    gold = int(sum(WEIGHTS.get(word, 0.0) for word in words) > 0)
    if gold == 0:
        return
    subjects = [Subject(f"u{number}", text, None, 1) for number in range(3)]
    groups = list(attacked(Synonyms(LISTED), subjects, BagOfWords(WEIGHTS), seed=0, together=together))
    outcomes = [outcome for group in groups for outcome in group]
    assert {outcome.status for outcome in outcomes} == {"success" if lowest <= 0 else "failed"}
    assert len({outcome.queries for outcome in outcomes}) == 1
