"""Attacks on words against victims and lists whose answers can be worked out by hand."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from test_attack_search import Listed
from toy_victim import BagOfWords, Synonyms

from ftbench.attacking.contract import Case, Resources, Site, Subject
from ftbench.attacking.engine import attacked
from ftbench.attacking.masked_words import MaskedWords, Place
from ftbench.attacking.search import Outcome
from ftbench.attacking.similarity import SentenceEncoder, SimilaritySettings, SimilarTexts
from ftbench.attacking.victim import Victim
from ftbench.attacking.word_constraints import NearWords, NoOpposite, SamePart
from ftbench.attacking.words import Words, is_word
from ftbench.attacks.base import Attack
from ftbench.attacks.masked import MaskedSubstitution
from ftbench.config.errors import FtbenchError
from ftbench.data.lexicon import Lexicon, read_lexicon
from ftbench.data.word_vectors import WordVectors
from ftbench.plugins import plugin

CPU = torch.device("cpu")
WORD_ATTACKS = ("bae_r", "bert_attack", "pwws", "synonym_bert", "textfooler")


def made(name: str, **config: Any) -> Attack:
    factory = plugin("attacks", name).factory
    attack: Attack = factory(factory.Config(**config))
    return attack


def resources(**files: Path) -> Resources:
    return Resources(Path("nowhere"), {}, files, CPU)


def one(attack: Any, victim: Victim, text: str, gold: int = 1) -> Outcome:
    ((outcome,),) = attacked(attack, [Subject("u", text, None, gold)], victim, seed=0)
    return outcome


def case(text: str, position: int, replacement: str, current: str | None = None) -> Case:
    return Case(Site("u", Words.of(text), Words.of(current or text), position, 0), replacement)


def test_every_attack_says_what_it_is_and_in_what_it_differs() -> None:
    for name in WORD_ATTACKS:
        factory = plugin("attacks", name).factory
        assert factory.summary
        assert factory.paper
        assert factory.deviations


@pytest.fixture
def synonyms(tmp_path: Path) -> Path:
    file = tmp_path / "synonyms.txt"
    file.write_text("good,fine,great\nnice,pleasant,odd\nfilm,movie,motion picture\n", encoding="utf-8")
    return file


WEIGHTS = {"good": 2.0, "fine": 1.0, "great": 3.0, "nice": 1.5, "pleasant": 1.4, "odd": -3.0, "film": 0.1, "movie": 0.0}


def independent_pwws(text: str, listed: dict[str, list[str]], weights: dict[str, float]) -> tuple[str, str]:
    """The paper's formulas on a bag of words, with the same greedy steps: the status, and the last text."""

    def true(words: Sequence[str]) -> float:
        return 1 / (1 + math.exp(-sum(weights.get(word, 0.0) for word in words)))

    words = text.split()
    if true(words) <= 0.5:
        return "skipped", text
    saliency = np.array([true(words) - true([*words[:i], "?", *words[i + 1 :]]) for i in range(len(words))])
    gain = [max([true(words) - true([*words[:i], other, *words[i + 1 :]]) for other in listed.get(word, [])] or [0])
            for i, word in enumerate(words)]  # fmt: skip
    score = np.exp(saliency) / np.exp(saliency).sum() * np.array(gain)
    for i in sorted(range(len(words)), key=lambda i: -score[i]):
        tried = [[*words[:i], other, *words[i + 1 :]] for other in listed.get(words[i], [])]
        lowest = min(tried, key=true, default=words)
        words = lowest if true(lowest) < true(words) else words
        if true(words) <= 0.5:
            return "success", " ".join(words)
    return "failed", " ".join(words)


@given(st.lists(st.sampled_from(["good", "nice", "film", "sad", "the"]), min_size=1, unique=True))
@settings(deadline=None)
def test_pwws_follows_the_papers_formula(words: list[str]) -> None:
    groups = [
        ("", ("good", "fine", "great")),
        ("", ("nice", "pleasant", "odd")),
        ("", ("film", "movie", "motion picture")),
    ]
    lexicon = Lexicon("here", groups)
    attack: Any = made("pwws", stop_words="none")
    attack._lexicon = lexicon
    weights = {**WEIGHTS, "sad": -0.7}
    text = " ".join(words)
    listed = {word: [one for one in lexicon.synonyms(word) if " " not in one] for word in words}
    status, after = independent_pwws(text, listed, weights)
    outcome = one(attack, BagOfWords(weights), text)
    assert (outcome.status, outcome.text_after or text) == (status, after)


def test_pwws_keeps_capitals_and_asks_about_words_with_synonyms_alone(synonyms: Path) -> None:
    attack = made("pwws", lexicon=str(synonyms))
    attack.prepare(resources(lexicon=synonyms))
    outcome = one(attack, BagOfWords({**WEIGHTS, "Nice": 1.5, "Odd": -3.0}), "Nice film , unheard of")
    assert (outcome.status, outcome.text_after) == ("success", "Odd film , unheard of")
    # 1 text, 2 words unknown, 2 synonyms of nice and 1 of film, which the greedy step asks about no second time
    assert outcome.queries == 1 + 2 + 2 + 1


def test_a_lexicon_that_is_missing_is_named_by_the_attacks_files() -> None:
    assert plugin("attacks", "pwws").factory.files(made("pwws").config) == {"lexicon": None}
    assert plugin("attacks", "textfooler").factory.files(made("textfooler").config) == {"vectors": None}
    given = made("bae_r", parts_of_speech="here", antonyms="there")
    assert given.files(given.config) == {"parts_of_speech": "here", "antonyms": "there"}
    masked = made("bert_attack", sim_model="minilm", language_model="bert-base-cased")
    assert set(masked.models(masked.config)) == {"minilm", "bert-base-cased"}
    assert made("bert_attack").models(made("bert_attack").config) == ()


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    angles = {"good": 0, "fine": 20, "great": -30, "bad": 70, "film": 180, "movie": 185, "a-b": 181}
    lines = [f"{word} {math.cos(math.radians(a))} {math.sin(math.radians(a))}" for word, a in angles.items()]
    file = tmp_path / "vectors.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_textfooler_takes_near_vectors_from_the_cosine_that_is_asked(vectors: Path) -> None:
    attack = made("textfooler", least_similarity=None)
    attack.prepare(resources(vectors=vectors))
    sites = [Site("u", Words.of("Good film"), Words.of("Good film"), position, 0) for position in (0, 1)]
    # bad is 70 degrees off: cosine 0.34 < 0.5
    assert attack.candidates(sites) == [["Fine", "Great"], ["a-b", "movie"]]
    fewer = made("textfooler", least_similarity=None, neighbours=1)
    fewer.prepare(resources(vectors=vectors))
    assert fewer.candidates(sites) == [["Fine"], ["a-b"]]


def test_textfooler_orders_by_the_loss_of_deletion_and_what_the_new_class_gains(vectors: Path) -> None:
    """Without `film` the label flips: 0.2 of loss and 0.45 of gain beat the 0.24 that `good` costs."""
    table = {"good film": [0.6, 0.1, 0.3], "film": [0.36, 0.30, 0.34], "good": [0.4, 0.55, 0.05]}
    close = {text: [0.59, 0.11, 0.3] for text in ("good movie", "good a-b", "fine film", "great film")}
    for gain, position in ((True, 1), (False, 0)):
        attack = made("textfooler", least_similarity=None, changed_words=1, flip_gain=gain)
        attack.prepare(resources(vectors=vectors))
        outcome = one(attack, Listed({**table, **close}), "good film", gold=0)
        assert outcome.changed_positions == [position]


GROUPS = [("n", ("film", "movie")), ("v", ("film", "shoot")), ("a", ("green",)), ("v", ("run",)), ("n", ("walk",))]


def test_words_agree_where_a_lexicon_lists_both_under_one_part_of_speech() -> None:
    lexicon = Lexicon("here", GROUPS)
    pairs = {("films", "movies"): True, ("film", "run"): True, ("movie", "run"): False, ("movie", "unheard"): False,
             ("Green", "movie"): False, ("unheard", "unheard"): False}  # fmt: skip
    cases = [case(word, 0, other) for word, other in pairs]
    assert [verdict.allowed for verdict in SamePart(lexicon).judge(cases)] == list(pairs.values())
    either = SamePart(lexicon, noun_for_verb=True)
    assert [verdict.allowed for verdict in either.judge(cases)][2:4] == [True, False]


def test_opposites_and_far_vectors_are_refused() -> None:
    cases = [case("Good film", 0, other) for other in ("Bad", "fine", "unheard")]
    assert [verdict.allowed for verdict in NoOpposite({"good": {"bad"}}).judge(cases)] == [False, True, True]
    unit = np.array([[1, 0], [0, 1], [0.8, 0.6]], dtype=np.float32)
    near = NearWords(WordVectors(("good", "bad", "fine"), unit), 0.4)
    assert [verdict.allowed for verdict in near.judge(cases)] == [False, True, True]


def test_lists_become_constraints_and_a_lexicon_without_parts_of_speech_is_refused(
    tmp_path: Path, vectors: Path
) -> None:
    table = {"members": [list(words) for _, words in GROUPS], "pos": [part for part, _ in GROUPS]}
    parquet.write_table(pa.table(table), tmp_path / "synsets.parquet")
    (tmp_path / "opposites.txt").write_text("good,fine\n", encoding="utf-8")
    attack = made("textfooler", least_similarity=None, parts_of_speech="here", antonyms="there")
    files = {
        "vectors": vectors,
        "parts_of_speech": tmp_path / "synsets.parquet",
        "antonyms": tmp_path / "opposites.txt",
    }
    attack.prepare(resources(**files))
    outcome = one(attack, BagOfWords({"good": 1.0, "film": 1.0, "fine": -1, "movie": -1.5}), "good film")
    assert (outcome.status, outcome.text_after) == ("success", "good movie")  # fine is an opposite, a-b has no part
    files["parts_of_speech"] = tmp_path / "opposites.txt"
    with pytest.raises(FtbenchError, match=r"parts_of_speech.*without parts of speech"):
        made("textfooler", least_similarity=None, parts_of_speech="x").prepare(resources(**files))


class Encoded(SentenceEncoder):
    """Vectors by counts of two words."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        counts = np.array([[1 + text.split().count("a"), 1 + text.split().count("b")] for text in texts], dtype=float)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_texts_below_the_threshold_are_refused_and_similarity_is_a_cosine() -> None:
    encoder = Encoded()
    constraint = SimilarTexts(encoder, SimilaritySettings(least_similarity=0.9))
    found = constraint.judge([case("a x", 1, "y"), case("a x", 0, "b")])
    assert [verdict.allowed for verdict in found] == [True, False]
    assert [verdict.similarity for verdict in found] == pytest.approx([1, 4 / 5])  # (2, 1) and (1, 2)


def test_the_window_keeps_its_width_and_short_texts_pass() -> None:
    encoder = Encoded()
    text = "q, r s t u v"
    window = SimilarTexts(encoder, SimilaritySettings(least_similarity=0.9, window=3))
    window.judge([case(text, position, "a") for position in (0, 2, 5)])
    assert encoder.seen == ["q, r s", "r s t", "t u v", "a, r s", "r a t", "t u a"]
    short = SimilarTexts(Encoded(), SimilaritySettings(least_similarity=0.9999, shortest=7))
    assert short.judge([case(text, 2, "a")])[0].allowed
    assert (
        not SimilarTexts(Encoded(), SimilaritySettings(least_similarity=0.9999)).judge([case(text, 2, "a")])[0].allowed
    )


def test_the_text_before_the_change_is_compared_where_that_is_asked() -> None:
    encoder = Encoded()
    settings = SimilaritySettings(least_similarity=0.9, compare="current")
    SimilarTexts(encoder, settings).judge([case("x y", 1, "z", current="w y")])
    assert encoder.seen == ["w y", "w z"]


def test_sentences_become_means_of_their_tokens_states_whatever_they_are_batched_with(tmp_path: Path) -> None:
    from test_masked_words import PIECES, word_pieces
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=8, max_position_embeddings=16)  # fmt: skip
    torch.manual_seed(0)
    model = BertModel(config).eval()
    tokenizer = word_pieces(tmp_path)
    encoder = SentenceEncoder(model, tokenizer, CPU)
    texts = ["the film is good.", "good", "", "film " * 40]
    found = encoder.vectors(texts)
    for row, text in enumerate(texts):
        coded = tokenizer(text, return_tensors="pt", truncation=True, max_length=14)
        mean = model(**coded).last_hidden_state[0].mean(dim=0).detach().numpy()
        assert found[row] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert encoder.vectors(texts[1:2])[0] == pytest.approx(found[1], abs=1e-6)


class Filled(MaskedWords):
    """A language model that answers by a list."""

    def __init__(self, listed: dict[str, list[str]]) -> None:
        self.listed, self.asked = listed, []  # type: dict[str, list[str]], list[tuple[str, str]]

    def _answers(self, kind: str, places: Sequence[Place], count: int) -> list[list[str]]:
        self.asked += [(kind, place.text) for place in places]
        return [self.listed.get(place.text[place.start : place.end], [])[:count] for place in places]

    def hidden(self, places: Sequence[Place], count: int) -> list[list[str]]:
        return self._answers("hidden", places, count)

    def visible(self, places: Sequence[Place], count: int) -> list[list[str]]:
        return self._answers("visible", places, count)


def filled(name: str, listed: dict[str, list[str]], **config: Any) -> tuple[MaskedSubstitution, Filled]:
    attack: Any = made(name, least_similarity=None, **config)
    attack._words = Filled(listed)
    return attack, attack._words


MASKED = {"good": ["Good", "fine", "great", "not-a word", "fine"], "nice": ["odd"], "film": ["movie"]}


@pytest.mark.parametrize(
    ("name", "kind"), [("bert_attack", "visible"), ("bae_r", "hidden"), ("synonym_bert", "hidden")]
)
def test_masked_attacks_ask_in_the_text_as_it_is_by_then_and_keep_other_single_words(name: str, kind: str) -> None:
    attack, model = filled(name, MASKED)
    site = Site("u", Words.of("(Good) film"), Words.of("(Good) movie"), 0, 0)
    assert attack.candidates([site]) == [[]]  # listed by the lower-case word alone
    site = Site("u", Words.of("so good film"), Words.of("so good movie"), 1, 0)
    assert attack.candidates([site]) == [["fine", "great"]]
    assert model.asked == [(kind, "(Good) movie"), (kind, "so good movie")]


def test_bert_attack_changes_at_most_forty_percent_of_the_words() -> None:
    weights = {"good": 5.0, "nice": 5.0, "fine": 4.0, "odd": 4.0, "film": 5.0, "movie": 4.0}
    attack, _ = filled("bert_attack", MASKED, stop_words="none")
    outcome = one(attack, BagOfWords(weights), "good nice film x y")
    assert (outcome.status, len(outcome.changed_positions)) == ("failed", 2)


def test_bert_attack_refuses_far_vectors_where_it_has_some(vectors: Path) -> None:
    attack: Any = made("bert_attack", least_similarity=None, vectors="here")
    attack._constraints = []
    assert attack.files(attack.config) == {"vectors": "here"}
    weights = {"good": 1.0, "bad": -2.0, "fine": -1.0}
    from ftbench.data.word_vectors import read_vectors

    attack._constraints = [NearWords(read_vectors(vectors), attack.config.least_cosine)]
    attack._words = Filled({"good": ["bad", "fine"]})
    # bad costs more but is 70 degrees off
    assert one(attack, BagOfWords(weights), "good x y").text_after == "fine x y"


def test_the_arabic_study_attacks_one_word_and_ranks_flips_first() -> None:
    weights = {"good": 2.0, "nice": 1.0, "film": -0.5, "fine": 1.0, "great": 1.5, "odd": -3.0, "movie": -0.5}
    attack, model = filled("synonym_bert", MASKED)
    outcome = one(attack, BagOfWords(weights), "good nice film")
    assert (outcome.status, outcome.text_after) == ("failed", "fine nice film")  # `odd` for `nice` would have flipped
    assert len(model.asked) == 1
    # `none` has no candidates: the next word is the one that is attacked
    outcome = one(attack, BagOfWords({**weights, "none": 3.0}), "none good nice film")
    assert outcome.changed_positions == [1]
    assert len(model.asked) == 3


def test_words_whose_deletion_flips_the_label_come_before_all_others() -> None:
    # without `good` the top probability falls most, without `nice` the label flips
    table = {"good nice": [0.5, 0.3, 0.2], "nice": [0.36, 0.32, 0.32], "good": [0.45, 0.5, 0.05]}
    for first, position in ((True, 1), (False, 0)):
        attack, _ = filled("synonym_bert", MASKED, flips_first=first)
        victim = Listed({**table, "fine nice": [0.49, 0.3, 0.21], "great nice": [0.49, 0.3, 0.21],
                         "good odd": [0.49, 0.3, 0.21]})  # fmt: skip
        assert one(attack, victim, "good nice", gold=0).changed_positions == [position]


def test_the_released_notion_counts_any_change_of_the_prediction() -> None:
    weights = {"nice": 1.5, "odd": -3.0}
    attack, _ = filled("synonym_bert", MASKED)
    assert one(attack, BagOfWords(weights), "nice", gold=0).status == "skipped"
    released, _ = filled("synonym_bert", MASKED, goal="prediction")
    outcome = one(released, BagOfWords(weights), "nice", gold=0)
    assert (outcome.status, outcome.text_after, outcome.pred_before, outcome.pred_after) == ("success", "odd", 1, 0)
    sigmoid = 1 / (1 + math.exp(1.5))
    assert outcome.p_true_before == pytest.approx(sigmoid)  # of the true label, which is not the predicted one
    assert outcome.p_true_after == pytest.approx(1 / (1 + math.exp(-3)))


def test_what_is_one_word_is_what_the_search_takes_for_one() -> None:
    assert all(
        map(is_word, ("film", "don't", "well-made", "\u0641\u064a\u0644\u0645", "\u092b\u093f\u0932\u094d\u092e"))
    )
    assert not any(map(is_word, ("", "motion picture", "##ly", "2000", "[UNK]", "film.", "-film", "a--b")))


def test_the_number_of_tried_words_bounds_the_search_of_every_attack() -> None:
    listed = {"good": ["better"], "nice": ["odd"]}
    weights = {"good": 2.0, "nice": 1.5, "better": 2.5, "odd": -3.0}
    for tried, status in ((1, "failed"), (2, "success"), (None, "success")):
        outcome = one(Synonyms(listed, tried_words=tried), BagOfWords(weights), "x good nice")
        assert outcome.status == status


DATA = Path(os.environ.get("FTBENCH_DATA_ROOT") or Path(__file__).parents[2] / "shared" / "data")


@pytest.mark.skipif(not (DATA / "open_english_wordnet").is_dir(), reason="no real data")
def test_pwws_on_open_english_wordnet_changes_words_for_synonyms_alone() -> None:
    place = DATA / "open_english_wordnet" / "synsets.parquet"
    attack = made("pwws", lexicon=str(place))
    attack.prepare(resources(lexicon=place))
    lexicon = read_lexicon(place)
    text = "A gripping film with beautiful pictures and a dull story."
    weights = dict.fromkeys(("pictures", "film"), 1.0) | {"story.": 0.2, "dull": -0.5}
    outcome = one(attack, BagOfWords(weights), text)
    before, after = Words.of(text), Words.of(str(outcome.text_after))
    assert outcome.status == "success"
    for position in outcome.changed_positions:
        assert after.words[position] in lexicon.synonyms(before.words[position])
    assert before.gaps == after.gaps
