"""Attacks on the characters of words: what they propose, against edits listed by hand or by another rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftbench.attacking.characters import (
    NEIGHBOURS,
    EditDistance,
    deletions,
    edit_distance,
    insertions,
    substitutions,
    swaps,
)
from ftbench.attacking.contract import Case, Site
from ftbench.attacking.words import Words
from ftbench.plugins import plugin


def site(text: str, position: int, seed: int = 0, uid: str = "u") -> Site:
    words = Words.of(text)
    return Site(uid, words, words, position, seed)


def made(name: str, **settings: Any) -> Any:
    factory = plugin("attacks", name).factory
    return factory(factory.Config(**settings))


def test_edits_of_a_word_are_those_listed_by_hand() -> None:
    assert swaps("abc", range(2)) == ["bac", "acb"]
    assert deletions("abc", range(1, 3)) == ["ac", "ab"]
    assert insertions("ab", [1], "xy") == ["axb", "ayb"]
    assert substitutions("ab", [0], "ac") == ["cb"]
    assert NEIGHBOURS["g"] == "bfhtvy"
    assert NEIGHBOURS["q"] == "aw"


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_the_edit_distance_is_a_distance_within_the_bounds_of_lengths_and_subsequences(first: str, second: str) -> None:
    # with substitutions at the price of two edits it would be the lengths minus twice the common subsequence
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for row, one in enumerate(first, 1):
        for column, other in enumerate(second, 1):
            table[row][column] = (
                table[row - 1][column - 1] + 1 if one == other else max(table[row - 1][column], table[row][column - 1])
            )
    common = table[-1][-1]
    found = edit_distance(first, second)
    assert max(len(first), len(second)) - common <= found <= len(first) + len(second) - 2 * common
    assert found == edit_distance(second, first)
    assert (found == 0) == (first == second)
    assert edit_distance("kitten", "sitting") == 3


def test_deep_word_bug_tries_one_edit_of_each_kind() -> None:
    (found,) = made("deep_word_bug").candidates([site("a wonderful film", 1)])
    swapped, substituted, deleted, inserted = found
    assert sorted(swapped) == sorted("wonderful")
    assert (len(substituted), len(deleted), len(inserted)) == (9, 8, 10)
    assert [edit_distance("wonderful", word) for word in found[1:]] == [1, 1, 1]
    assert all(words for words in made("deep_word_bug").candidates([site("a b", 0)]))


def test_pruthi_keeps_first_and_last_letter_and_leaves_short_words() -> None:
    attack = made("pruthi")
    assert [attack.attackable(word) for word in ("the", "film")] == [False, True]
    (found,) = attack.candidates([site("Wonderful", 0)])
    assert {word[0] + word[-1] for word in found} == {"Wl"}
    assert len(found) == len(set(found)) == 50
    assert all(1 <= edit_distance("Wonderful", word) <= 2 for word in found)
    (short,) = attack.candidates([site("film", 0)])
    # 1 swap, 2 deletions, 6 and 5 neighbours of i and l, 3 places to put a letter in
    assert set(short) >= {"flim", "flm", "fim", "fulm", "fikm"}
    assert len(short) <= 1 + 2 + len(NEIGHBOURS["i"]) + len(NEIGHBOURS["l"]) + 3


@pytest.mark.parametrize("name", ["deep_word_bug", "pruthi"])
def test_draws_depend_on_example_word_and_seed_alone(name: str) -> None:
    attack = made(name)
    text = "an extraordinarily wonderful experience"
    sites = [site(text, place, seed, uid) for place in (1, 2, 3) for seed in (0, 1) for uid in ("u", "v")]
    together = attack.candidates(sites)
    assert together == [attack.candidates([one])[0] for one in sites] == attack.candidates(sites)
    assert len({tuple(found) for found in together}) == len(sites)


def test_the_edit_distance_of_a_text_adds_up_over_its_words() -> None:
    original = Words.of("good film")
    current = original.replaced({0: "goo"})
    case = Case(Site("u", original, current, 1, 0), "fillm")
    assert [EditDistance(most).judge([case])[0].allowed for most in (1, 2)] == [False, True]
