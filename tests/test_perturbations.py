"""Every perturbation: strength 0 changes nothing, strength is the rate it says, edits are seeded and nested; and each
one's own rules, against counts made here."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.perturbations.base import Perturbation
from ftbench.perturbations.keyboard import neighbours
from ftbench.perturbations.names import GROUPS
from ftbench.perturbations.spans import negator, spared
from ftbench.plugins import plugins
from ftbench.training.seeds import numpy_generator

SENTENCE = (
    "Mary wasn't sure, but the good old rooms aren't 25 miles away; it is a nice place and Peter was happy about 3.50 "
    "euros, so they will come back. "
)
TEXT = (SENTENCE * 30).strip()
NEEDED: dict[str, dict[str, Any]] = {"phrases": {"label": "positive", "phrases": ["I liked it.", "It was fine."]}}
NAMES = sorted(plugins("perturbations"))
# units of a text that the rate is a rate of, and edits of it, counted in another way
Counting = tuple[dict[str, Any], Callable[[str], int], Callable[[str, str], int]]


def differing(old: list[str], new: list[str]) -> int:
    return sum(one != other for one, other in zip(old, new, strict=True))


COUNTED: dict[str, Counting] = {
    "keyboard": ({}, lambda text: sum(letter in string.ascii_letters for letter in text),
                 lambda old, new: differing(list(old), list(new))),
    "letter_case": ({}, lambda text: sum(word.upper() != word for word in text.split()),
                    lambda old, new: differing(old.split(), new.split())),
    "numbers": ({}, lambda text: len(re.findall(r"\d+", text)),
                lambda old, new: differing(re.findall(r"\d+", old), re.findall(r"\d+", new))),
    "names": ({}, lambda text: text.count("Mary") + text.count("Peter"),
              lambda old, new: differing(old.split(), new.split())),
    "contractions": ({"direction": "expand"}, lambda text: text.count("n't"), lambda _, new: new.count(" not")),
    "negation": ({}, lambda text: len(re.findall(r"\b(?:is|was|will) ", text)), lambda _, new: new.count(" not")),
    "intensifiers": ({}, lambda text: sum(text.count(word) for word in ("good", "nice", "happy")),
                     lambda old, new: len(new.split()) - len(old.split())),
}  # fmt: skip


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    file = tmp_path / "synonyms.txt"
    file.write_text("good, fine, decent\nplace, spot\nhappy, glad\n")
    return file


def made(name: str, lexicon: Path | None = None, **settings: Any) -> Perturbation:
    factory = plugins("perturbations")[name].factory
    if name == "synonyms":
        settings.setdefault("synonyms", str(lexicon))
    found: Perturbation = factory(validated(factory.Config, {**NEEDED.get(name, {}), **settings}, "test"))
    return found


def edited(edit: Perturbation, text: str, strength: float, seed: int = 0, uid: str = "row") -> str:
    return edit.perturbed(text, strength, numpy_generator(seed, "perturb", edit.name, uid, "a"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text", [TEXT, "", " ", "a", "  two  words\t", "\N{GREEK SMALL LETTER ALPHA}\N{HIRAGANA LETTER A}!"]
)
def test_strength_0_is_the_text_itself_and_no_text_breaks_an_edit(name: str, text: str, lexicon: Path) -> None:
    edit = made(name, lexicon)
    assert edited(edit, text, 0.0) == text
    for strength in (0.3, 1.0):
        assert isinstance(edited(edit, text, strength), str)


@pytest.mark.parametrize("name", NAMES)
def test_an_edit_is_a_function_of_row_and_seed(name: str, lexicon: Path) -> None:
    edit = made(name, lexicon)
    strength = 0.5
    drawn = [edited(made(name, lexicon), TEXT, strength, seed, uid) for seed in range(3) for uid in ("one", "two")]
    again = [edited(edit, TEXT, strength, seed, uid) for seed in range(3) for uid in ("one", "two")]
    assert drawn == again
    assert len(set(drawn)) > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_says_what_its_strength_is_and_where_it_comes_from(name: str) -> None:
    factory = plugins("perturbations")[name].factory
    assert factory.summary
    assert re.search("share|fillers", factory.strength)
    assert factory.languages in ((), ("en",))


@pytest.mark.parametrize("name", COUNTED)
def test_strength_is_the_share_of_the_units_that_are_edited(name: str) -> None:
    """The number of edits is binomial: within four standard deviations of strength times the units."""
    settings, units, edits = COUNTED[name]
    edit, trials = made(name, **settings), 8 * units(TEXT)
    hit = sum(edits(TEXT, edited(edit, TEXT, 0.3, uid=str(uid))) for uid in range(8))
    assert abs(hit - 0.3 * trials) < 4 * np.sqrt(trials * 0.3 * 0.7)


def test_a_letter_is_hit_with_the_probability_of_the_strength() -> None:
    """Substitutions alone keep the length, so every hit can be seen."""
    edit = made("typos", operations=["substitute"])
    inner = {at for match in re.finditer(r"[A-Za-z]{4,}", TEXT) for at in range(match.start() + 1, match.end() - 1)}
    hits = 0
    for uid in range(10):
        changed = edited(edit, TEXT, 0.1, uid=str(uid))
        assert len(changed) == len(TEXT)
        places = {at for at, (old, new) in enumerate(zip(TEXT, changed, strict=True)) if old != new}
        assert places <= inner
        hits += len(places)
    trials = 10 * len(inner)
    assert abs(hits - 0.1 * trials) < 4 * np.sqrt(trials * 0.1 * 0.9)


@pytest.mark.parametrize("name", ["typos", "keyboard", "letter_case", "word_dropout", "numbers", "fillers"])
def test_edits_of_a_weaker_perturbation_are_among_those_of_a_stronger_one(name: str) -> None:
    edit = made(name, **({"operations": ["substitute"]} if name == "typos" else {}))
    weak, strong = edited(edit, TEXT, 0.1), edited(edit, TEXT, 0.4)
    if name in ("word_dropout", "fillers"):  # words left in, or put in, are a sub-multiset
        fewer, more = (weak, strong) if name == "fillers" else (strong, weak)
        assert not Counter(fewer.split()) - Counter(more.split())
        assert len(fewer) < len(more)
        return
    changed = [at for at, (old, new) in enumerate(zip(TEXT, weak, strict=True)) if old != new]
    assert changed
    assert all(strong[at] == weak[at] for at in changed)


def test_typos_keep_the_ends_of_words_and_short_words() -> None:
    for operation in ("swap", "delete", "insert", "substitute"):
        edit = made("typos", operations=[operation])
        found = edited(edit, "some words of a good room that was spacious", 1.0).split()
        old = ["some", "words", "of", "a", "good", "room", "that", "was", "spacious"]
        assert [word[0] + word[-1] for word in found] == [word[0] + word[-1] for word in old]
        assert [word for word in old if len(word) < 4] == [
            new for new, word in zip(found, old, strict=True) if len(word) < 4
        ]
        assert found != old
    assert edited(made("typos", operations=["swap"]), "spacious", 1.0) == "sapicuos"
    assert edited(made("typos", operations=["delete"]), "spacious", 1.0) == "ss"


def test_typos_of_another_script_use_its_letters() -> None:
    letters = "\N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER BETA}\N{GREEK SMALL LETTER GAMMA}"
    word = letters * 3
    found = edited(made("typos", operations=["substitute"], alphabet=letters), word, 1.0)
    assert set(found) <= set(letters)
    assert all(one != other for one, other in zip(found[1:-1], word[1:-1], strict=True))


def test_neighbours_on_the_keyboard_are_mutual_and_those_of_the_machine() -> None:
    for layout in ("qwerty", "qwertz", "azerty"):
        near = neighbours(layout)
        assert len(near) == 26
        assert all(letter in near[other] for letter, others in near.items() for other in others)
    assert neighbours("qwerty")["s"] == "adewxz"
    assert neighbours("qwerty")["q"] == "aw"
    assert "y" in neighbours("qwertz")["a"]


def test_case_turns_whole_words() -> None:
    assert edited(made("letter_case"), "The room was Good", 1.0) == "THE ROOM WAS GOOD"
    assert edited(made("letter_case", style="inverted"), "The room", 1.0) == "tHE ROOM"


def test_punctuation_leaves_the_inside_of_words_alone() -> None:
    text = "It's a well-made room, isn't it? Yes!"
    assert edited(made("punctuation", operation="remove"), text, 1.0) == "It's a well-made room isn't it Yes"
    put = edited(made("punctuation", marks="!"), text, 1.0)
    assert put == "It's! a! well-made! room, isn't! it? Yes!"


def test_contractions_go_both_ways_and_keep_what_they_mean() -> None:
    short = "It isn't far and I'm sure they can't come. Let's go: Peter's room won't do."
    full = "It is not far and I am sure they cannot come. Let us go: Peter's room will not do."
    assert edited(made("contractions", direction="expand"), short, 1.0) == full
    assert edited(made("contractions", direction="contract"), full, 1.0) == short
    stressed = "Yes, it is. She is."
    assert edited(made("contractions", direction="contract"), stressed, 1.0) == stressed


def test_word_order_moves_every_chosen_word_and_loses_none() -> None:
    words = [f"w{number}" for number in range(200)]
    text = " ".join(words)
    found = edited(made("word_order"), text, 0.3).split()
    assert sorted(found) == sorted(words)
    moved = sum(one != other for one, other in zip(found, words, strict=True))
    assert abs(moved - 60) < 4 * np.sqrt(200 * 0.3 * 0.7)
    assert all(one != other for one, other in zip(edited(made("word_order"), text, 1.0).split(), words, strict=True))
    near = edited(made("word_order", distance=5), text, 1.0).split()
    assert all(abs(near.index(word) - at) < 5 for at, word in enumerate(words))


def test_word_dropout_leaves_a_word_and_its_rate_out() -> None:
    words = [f"w{number}" for number in range(500)]
    kept = edited(made("word_dropout"), " ".join(words), 0.2).split()
    assert kept == [word for word in words if word in set(kept)]
    assert abs(len(kept) - 400) < 4 * np.sqrt(500 * 0.2 * 0.8)
    assert edited(made("word_dropout"), "one two three", 1.0) in ("one", "two", "three")


def test_synonyms_come_from_the_list_and_keep_capitals(lexicon: Path) -> None:
    found = edited(made("synonyms", lexicon), "Good place, HAPPY and well", 1.0)
    assert re.fullmatch(r"(Fine|Decent) spot, GLAD and well", found)
    with pytest.raises(FtbenchError, match="synonyms"):
        edited(made("synonyms", Path("nowhere.txt")), "Good", 1.0)


def test_negations_and_their_reach_are_spared_where_that_is_asked() -> None:
    text = "the room was not very good at all, the bar was clean"
    assert [text[a:b] for a, b in spared(text, ["negations"], 2)] == ["not", "very", "good"]
    assert [text[a:b] for a, b in spared(text, ["negations"], 9)] == ["not", "very", "good", "at", "all,"]
    assert [text[a:b] for a, b in spared(text, ["bar"], 0)] == ["bar"]
    assert all(negator(word) for word in ("Not", "isn't,", "don\N{RIGHT SINGLE QUOTATION MARK}t", "never"))
    assert not any(negator(word) for word in ("note", "want", "knot", "tent"))
    for name in ("word_dropout", "letter_case", "word_order", "fillers", "typos"):
        for seed in range(5):
            found = edited(made(name, spare=["negations"], reach=1), text, 0.9, seed)
            assert "not very" in found, (name, found)


def test_numbers_keep_their_digits_and_never_stay() -> None:
    text = "room 7 for 25 nights at 3.50, code 007, A4 and 2nd"
    for seed in range(40):
        found = edited(made("numbers"), text, 1.0, seed)
        assert [len(part) for part in re.findall(r"\d+", found)] == [len(part) for part in re.findall(r"\d+", text)]
        pairs = list(zip(re.findall(r"\d+", found), re.findall(r"\d+", text), strict=True))
        assert all(new != old for new, old in pairs[:5])
        assert found.endswith("A4 and 2nd")
        assert not re.search(r"\b0[1-9] nights", found)


def test_names_stay_within_their_group_and_words_are_no_names(tmp_path: Path) -> None:
    first, second = (set(group.split()) for group in GROUPS)
    assert not first & second
    assert not {"Will", "Grace", "May", "Mark", "Rose", "Bill", "Frank", "Joy", "Hope", "Dean"} & (first | second)
    found = edited(made("names"), "Mary met Peter, and mary left.", 1.0).split()
    assert found[0] in first - {"Mary"}
    assert found[2].rstrip(",") in second - {"Peter"}
    assert found[4] == "mary"
    own = tmp_path / "names.txt"
    own.write_text("Anke, Birgit\n")
    assert edited(made("names", names=str(own)), "Anke und Mary", 1.0) == "Birgit und Mary"


def test_directional_edits_say_what_must_happen() -> None:
    negation = made("negation")
    assert edited(negation, "the room was good and it is not far, it will do", 1.0) == (
        "the room was not good and it is not far, it will not do"
    )
    assert (negation.expectation.direction, negation.expectation.label, negation.keeps_label) == ("down", None, False)
    stronger = made("intensifiers", intensifiers=["very"])
    assert (
        edited(stronger, "a good bar, not good, so good, very good", 1.0)
        == "a very good bar, not good, so good, very good"
    )
    assert (stronger.expectation.direction, stronger.keeps_label) == ("up", True)
    phrases = made("phrases")
    given = [edited(phrases, "It rained.", 0.5, uid=str(row)) for row in range(400)]
    assert {*given} == {"It rained.", "It rained. I liked it.", "It rained. It was fine."}
    assert abs(given.count("It rained.") - 200) < 4 * 10
    assert phrases.expectation.label == "positive"
    reasons = type(phrases).obstacles(phrases.config, ["negativ", "positiv"])
    assert "positiv" in reasons[0]
