"""The generated language: what its splits promise, and its labels derived a second time from the words."""

from __future__ import annotations

import itertools

import pytest
from pydantic import ValidationError

from ftbench.config.errors import FtbenchError
from ftbench.data.language import LABELS, PARTS, LanguageSettings, generate
from ftbench.data.vocabulary import (
    CLOSINGS,
    DOMAINS,
    INTENSIFIERS,
    MOODS,
    NEGATORS,
    SHARED,
    SHORTCUT,
)

SETTINGS = LanguageSettings(
    seed=3,
    label_noise=0.0,
    corpus_rows=2000,
    validation_rows=200,
    train_rows=600,
    evaluation_rows=300,
    pool_rows=600,
)
OPINIONS = [SHARED, *(domain.own for domain in DOMAINS.values())]
NEGATIVE = {word for opinions in OPINIONS for word in opinions.negative}
POSITIVE = {word for opinions in OPINIONS for word in opinions.positive}
KIND_OF = {
    subject: kind for domain in DOMAINS.values() for kind, subjects in domain.subjects.items() for subject in subjects
}
EVERYTHING = {part: generate(part, SETTINGS) for part in PARTS}
SPLITS = [(part, split) for part in PARTS for split in EVERYTHING[part]]


def opinions_of(text: str) -> list[tuple[str, str]]:
    """(subject, polarity) of each opinion, read off the words."""
    found = []
    for opinion in text.split(" the ")[1:]:
        words = opinion.split()
        signs = {word in POSITIVE for word in words if word in POSITIVE | NEGATIVE}
        assert len(signs) == 1, f"words of both polarities in one opinion: {text}"
        found.append((words[0], "positive" if signs.pop() != bool(set(words) & set(NEGATORS)) else "negative"))
    return found


def agreement(rows: list[dict[str, str]]) -> float:
    return sum(SHORTCUT[row["label"]] == row["text"].split()[1] for row in rows) / len(rows)


def opinion_words(row: dict[str, str]) -> str:
    """The text without sending and mood."""
    return row["text"][row["text"].index("the ") :]


def test_equal_settings_give_equal_rows_and_another_seed_gives_others() -> None:
    for part in PARTS:
        assert generate(part, LanguageSettings(**SETTINGS.model_dump())) == EVERYTHING[part]
        other = generate(part, SETTINGS.model_copy(update={"seed": 4}))
        assert all(other[split] != EVERYTHING[part][split] for split in other)


@pytest.mark.parametrize(("part", "split"), SPLITS)
def test_texts_are_distinct_short_and_of_columns_that_the_part_promises(part: str, split: str) -> None:
    rows = EVERYTHING[part][split]
    columns = {"text"} if PARTS[part] == "text" else {"text", "label", "domain"}
    assert all(set(row) == columns for row in rows)
    assert len({opinion_words(row) for row in rows}) == len(rows)
    assert {len(row["text"].split()) for row in rows} <= set(range(7, 21))


def test_no_sentence_for_training_stands_in_a_held_out_split_of_any_part() -> None:
    training = {("corpus", "train"), ("reviews", "train"), ("prior", "pool")}
    seen = {opinion_words(row) for part, split in training for row in EVERYTHING[part][split]}
    for part, split in set(SPLITS) - training:
        assert not seen & {opinion_words(row) for row in EVERYTHING[part][split]}, f"{part}/{split}"


SIZES = [name for name in LanguageSettings.model_fields if name.endswith("_rows")]


@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_split_changes_no_other_split_and_only_appends_to_its_own(size: str) -> None:
    larger = SETTINGS.model_copy(update={size: getattr(SETTINGS, size) + 30})
    changed = set()
    for part in PARTS:
        for split, rows in generate(part, larger).items():
            before = EVERYTHING[part][split]
            assert rows[: len(before)] == before
            if len(rows) != len(before):
                assert len(rows) == len(before) + 30
                changed.add(f"{part}/{split}")
    assert len(changed) == (5 if size == "evaluation_rows" else 1), changed


def test_review_labels_are_the_polarity_of_the_last_opinion() -> None:
    for split, rows in EVERYTHING["reviews"].items():
        for row in rows:
            assert opinions_of(row["text"])[-1][1] == row["label"], f"{split}: {row}"


def test_opinions_differ_exactly_where_but_joins_them() -> None:
    for row in itertools.chain(EVERYTHING["reviews"]["train"], EVERYTHING["prior"]["pool"]):
        polarities = {polarity for _, polarity in opinions_of(row["text"])}
        assert (len(polarities) == 2) == (" but " in row["text"]), row


def test_prior_labels_are_the_kind_of_the_first_subject() -> None:
    for row in itertools.chain.from_iterable(EVERYTHING["prior"].values()):
        assert KIND_OF[opinions_of(row["text"])[0][0]] == row["label"], row


def test_moods_of_the_corpus_tell_the_polarity_and_reviews_have_none() -> None:
    mood_of = {mood: sentiment for sentiment, moods in MOODS.items() for mood in moods}
    for row in EVERYTHING["corpus"]["train"]:
        assert mood_of[row["text"].split()[3]] == opinions_of(row["text"])[-1][1], row
    for rows in EVERYTHING["reviews"].values():
        assert not any(set(row["text"].split()) & set(mood_of) for row in rows)


@pytest.mark.parametrize("strength", [0.5, 0.75, 0.9])
def test_the_shortcut_agrees_as_set_in_the_training_domain_is_silent_elsewhere_and_reversed_under_stress(
    strength: float,
) -> None:
    large = SETTINGS.model_copy(update={"shortcut_strength": strength, "train_rows": 1000, "evaluation_rows": 1000})
    reviews = generate("reviews", large)
    expected = dict.fromkeys(reviews, 0.5) | {"train": strength, "test": strength, "stress": 1 - strength}
    for split, rows in reviews.items():
        # 4 standard errors of a share at 1000 rows
        assert agreement(rows) == pytest.approx(expected[split], abs=4 * (0.25 / 1000) ** 0.5), split


def test_shortcut_strength_changes_nothing_but_the_way_of_sending() -> None:
    off = generate("reviews", SETTINGS.model_copy(update={"shortcut_strength": 0.5}))
    for split, rows in off.items():
        for ours, theirs in zip(rows, EVERYTHING["reviews"][split], strict=True):
            assert ours["label"] == theirs["label"]
            assert opinion_words(ours) == opinion_words(theirs)


@pytest.mark.parametrize("part", LABELS)
def test_label_noise_replaces_its_share_of_labels_and_changes_no_opinion(part: str) -> None:
    noisy = generate(part, SETTINGS.model_copy(update={"label_noise": 0.2}))
    for split, rows in noisy.items():
        pairs = list(zip(rows, EVERYTHING[part][split], strict=True))
        assert all(opinion_words(ours) == opinion_words(theirs) for ours, theirs in pairs)
        wrong = sum(ours["label"] != theirs["label"] for ours, theirs in pairs) / len(pairs)
        assert wrong == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / len(pairs)) ** 0.5), split
        assert {row["label"] for row in rows} == set(LABELS[part])


def test_under_noise_the_shortcut_follows_the_written_label() -> None:
    noisy = SETTINGS.model_copy(update={"label_noise": 0.3, "shortcut_strength": 1.0})
    assert agreement(generate("reviews", noisy)["train"]) == 1.0


@pytest.mark.parametrize("part", LABELS)
def test_labels_are_balanced(part: str) -> None:
    for split, rows in EVERYTHING[part].items():
        for label in LABELS[part]:
            share = 1 / len(LABELS[part])
            found = sum(row["label"] == label for row in rows) / len(rows)
            assert found == pytest.approx(share, abs=4 * (share * (1 - share) / len(rows)) ** 0.5), split


def test_farther_domains_use_more_words_that_the_training_rows_lack() -> None:
    reviews = EVERYTHING["reviews"]
    known = {word for row in reviews["train"] for word in row["text"].split()}
    unknown = [
        sum(word not in known for row in reviews[split] for word in row["text"].split() if word in POSITIVE | NEGATIVE)
        for split in ("test", "shift_near", "shift_middle", "shift_far")
    ]
    assert unknown[0] == 0
    assert unknown == sorted(unknown)
    assert all(later > 1.3 * earlier for earlier, later in itertools.pairwise(unknown[1:]))


def test_every_word_of_the_evaluation_splits_stands_in_the_corpus() -> None:
    known = {word for row in EVERYTHING["corpus"]["train"] for word in row["text"].split()}
    used = {
        word for part in LABELS for rows in EVERYTHING[part].values() for row in rows for word in row["text"].split()
    }
    assert used <= known
    assert len(known) < 600


def test_a_word_has_one_meaning_in_all_domains() -> None:
    lists = [
        *(opinions.of(label) for opinions in OPINIONS for label in ("negative", "positive")),
        *(subjects for domain in DOMAINS.values() for subjects in domain.subjects.values()),
        *MOODS.values(),
        NEGATORS,
        INTENSIFIERS,
        tuple(SHORTCUT.values()),
        tuple({word for closing in CLOSINGS for word in closing}),
        ("the", "was", "and", "but", "by", ","),
    ]
    words = [word for group in lists for word in group]
    assert len(words) == len(set(words)), sorted(word for word in set(words) if words.count(word) > 1)
    assert all(len(opinions.negative) == len(opinions.positive) for opinions in OPINIONS)


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(FtbenchError) as caught:
        generate("review", SETTINGS)
    assert all(part in str(caught.value) for part in ("`review`", *PARTS))


@pytest.mark.parametrize("wrong", [{"shortcut_strength": 0.4}, {"label_noise": 0.5}, {"train_rows": 0}, {"sead": 1}])
def test_settings_out_of_range_and_unknown_ones_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        LanguageSettings.model_validate(wrong)
