"""Augmentation of training rows: what each edit does to a text, and what the rows beside it are."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from test_conformance import NumberedWords, settings, tiny_model, tiny_rows

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.data.lexicon import lexicon_path, read_synonyms
from ftbench.data.word_edits import deleted, inserted, letters_alone, replaceable, replaced, swapped
from ftbench.methods.eda import Eda
from ftbench.methods.shallow_ensemble import ShallowEnsemble
from ftbench.training.examples import Examples
from ftbench.training.fit import fit
from ftbench.training.method import Context

WORDNET = Path(os.environ.get("FTBENCH_DATA_ROOT") or Path(__file__).parents[2] / "shared" / "data")
WORDNET = WORDNET / "open_english_wordnet" / "synsets.parquet"
SYNONYMS = {"film": ("movie", "picture"), "dull": ("boring",), "the": ("this",)}
TEXT = 'The film was dull, and the other "Film" was not.'


def generator() -> np.random.Generator:
    return np.random.default_rng(3)


def test_replacement_takes_all_occurrences_and_keeps_capitals_punctuation_and_stop_words() -> None:
    found = " ".join(replaced(TEXT.split(), 5, SYNONYMS, generator()))
    word = "movie" if "movie" in found else "picture"
    assert found == f'The {word} was boring, and the other "{word.capitalize()}" was not.'


def test_replacement_changes_as_many_distinct_words_as_asked_and_each_equally_often() -> None:
    words, draws = TEXT.split(), generator()
    assert replaceable(words, SYNONYMS) == ["dull", "film"]
    dull = 0
    for _ in range(400):
        found = replaced(words, 1, SYNONYMS, draws)
        changed = {word.strip('".,').lower() for word, other in zip(words, found, strict=True) if word != other}
        assert changed in ({"film"}, {"dull"})
        dull += changed == {"dull"}
    assert abs(dull - 200) < 50  # five standard deviations


def test_insertion_adds_as_many_synonyms_as_asked_and_keeps_the_order_of_the_rest() -> None:
    words = TEXT.split()
    found = inserted(words, 3, SYNONYMS, generator())
    assert len(found) == len(words) + 3
    rest = iter(found)
    assert all(word in rest for word in words)  # a subsequence
    assert inserted(["no", "such"], 3, SYNONYMS, generator()) == ["no", "such"]


def test_a_swap_exchanges_two_places() -> None:
    words = [f"w{number}" for number in range(20)]
    for _ in range(50):
        found = swapped(words, 1, generator())
        assert sum(word != other for word, other in zip(words, found, strict=True)) == 2
        assert sorted(found) == sorted(words)
    assert swapped(["alone"], 2, generator()) == ["alone"]


def test_deletion_drops_each_word_with_the_stated_probability_and_never_all() -> None:
    words, draws = [f"w{number}" for number in range(10)], generator()
    kept = np.array([len(deleted(words, 0.3, draws)) for _ in range(1000)])
    assert abs(kept.mean() - 7) < 0.25  # five standard deviations of the mean
    assert all(len(deleted(["two", "words"], 0.99, draws)) == 1 for _ in range(50))
    assert deleted(["alone"], 0.99, draws) == ["alone"]


@pytest.fixture
def lexicon(tmp_path: Path) -> str:
    file = tmp_path / "synonyms.txt"
    file.write_text("film, movie\tpicture\ndull,boring\n", encoding="utf-8")
    return str(file)


def augmented(rows: Examples, **config: Any) -> Examples:
    return Eda(Eda.Config(**config)).examples(rows, Context(tiny_model(), settings(), "classification", seed=1))


def test_every_row_stays_as_it_is_and_gets_its_variants_with_its_target_behind() -> None:
    rows = tiny_rows()
    found = augmented(rows, variants=3)
    assert found.text_a[:40] == rows.text_a
    assert len(found) == len(set(found.uids)) == 160
    assert found.targets is not None
    assert rows.targets is not None
    assert np.array_equal(found.targets, np.concatenate([rows.targets, np.repeat(rows.targets, 3)]))
    for number, text in enumerate(found.text_a[40:]):
        assert set(text.split()) <= set(rows.text_a[number // 3].split())


def test_the_released_way_strips_originals_too_and_inserts_synonyms_of_stop_words(tmp_path: Path) -> None:
    """The rule is that of the released `get_only_chars`: apostrophes go, everything else but a to z becomes a space."""
    assert letters_alone("  Don\u2019t re-use 3\tDVDs, it's A-1!") == "dont re use dvds its a"
    assert inserted(["the"], 2, SYNONYMS, generator()) == ["the"]
    assert sorted(inserted(["the"], 2, SYNONYMS, generator(), any_word=True)) == ["the", "this", "this"]
    rows = Examples(["r"], ["The 2nd Film isn't DULL"], ["99"], None)
    found = augmented(rows, variants=2, reference=True, operations=["swap"])
    assert found.text_a[0] == "the nd film isnt dull"
    assert sorted(found.text_a[1].split()) == sorted(found.text_a[0].split())
    assert found.text_b == ["", "", ""]
    assert rows.text_a == ["The 2nd Film isn't DULL"]


def test_variants_do_not_depend_on_the_other_rows_and_differ_between_seeds() -> None:
    rows = tiny_rows()
    alone = rows.take(np.array([7]))
    assert augmented(alone, variants=4).text_a[1:] == augmented(rows, variants=4).text_a[40 + 28 : 40 + 32]
    other = Eda(Eda.Config(variants=4)).examples(rows, Context(tiny_model(), settings(), "classification", seed=2))
    assert other.text_a != augmented(rows, variants=4).text_a


def test_the_operations_have_equal_parts() -> None:
    """Of eight variants each of four operations makes one to three, and two on average."""
    counts: list[int] = []

    class Counted(Eda):
        def edited(self, text: str, operation: str, *given: Any) -> str:
            counts[-1] += operation == "swap"
            return text

    for row in range(40):
        counts.append(0)
        method = Counted(Eda.Config(variants=8, operations=("replacement", "insertion", "swap", "deletion")))
        method.examples(tiny_rows().take(np.array([row])), Context(tiny_model(), settings(), "classification", seed=1))
    assert set(counts) <= {0, 1, 2, 3}
    assert abs(np.mean(counts) - 2) < 0.5


@pytest.mark.parametrize("texts", ["a", "b", "both"])
def test_a_variant_of_a_pair_keeps_its_own_partner(texts: str) -> None:
    rows = Examples(["p", "q"], ["a b c d e f", "g h i j k l"], ["A B C D E F", "G H I J K L"], np.array([0, 1]))
    found = augmented(rows, variants=2, operations=("swap",), texts=texts)
    assert found.text_b is not None
    for row in range(2, 6):
        origin = (row - 2) // 2
        assert (found.text_a[row] == rows.text_a[origin]) == (texts == "b")
        assert sorted(found.text_b[row]) == sorted(rows.text_b[origin] if rows.text_b else "")
        assert (found.text_b[row] == (rows.text_b or [])[origin]) == (texts == "a")


def test_synonyms_are_used_where_a_list_is_given_and_only_then(lexicon: str) -> None:
    rows = Examples(["p"], ["the film was dull and long enough to forget"], None, np.array([0]))
    words = {word for text in augmented(rows, variants=16, synonyms=lexicon).text_a for word in text.split()}
    assert words & {"movie", "picture"}
    assert "boring" in words
    plain = {word for text in augmented(rows, variants=16).text_a for word in text.split()}
    assert plain <= set(rows.text_a[0].split())


def test_more_rows_do_not_mean_more_steps(tmp_path: Path) -> None:
    training = Training(epochs=2, batch_size=8, learning_rate=1e-3, evaluations=0, precision="fp32")
    methods = [Eda(Eda.Config(variants=3))]
    fitted = fit(tiny_model(), NumberedWords(), tiny_rows(), methods, training, "classification", 1, tmp_path)
    assert fitted.train_rows == 160
    assert fitted.total_steps == len(fitted.outcome.log) == 10


def test_lists_of_synonyms_are_read_from_synsets_pairs_and_lines(tmp_path: Path, lexicon: str) -> None:
    synsets = pa.table({"members": [["film", "movie", "moving_picture"], ["Film", "celluloid"], ["alone"]]})
    pairs = pa.table({"word1": ["film", "dull"], "word2": ["movie", "boring"]})
    for name, table in (("synsets", synsets), ("pairs", pairs)):
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    assert read_synonyms(tmp_path / "synsets.parquet")["film"] == ("celluloid", "movie", "moving picture")
    assert read_synonyms(tmp_path / "pairs.parquet")["boring"] == ("dull",)
    assert read_synonyms(Path(lexicon))["film"] == ("movie", "picture")


def test_a_changed_missing_or_empty_list_is_refused(tmp_path: Path, lexicon: str) -> None:
    digest = hashlib.sha256(Path(lexicon).read_bytes()).hexdigest()
    assert read_synonyms(Path(lexicon), digest)
    with pytest.raises(FtbenchError, match="synonyms_sha256"):
        read_synonyms(Path(lexicon), "0" * 64)
    with pytest.raises(FtbenchError, match=r"found no file `nowhere\.txt`"):
        lexicon_path("nowhere.txt")
    (tmp_path / "lone.txt").write_text("one\ntwo\n")
    with pytest.raises(FtbenchError, match="found no two words that mean the same"):
        read_synonyms(tmp_path / "lone.txt")


@pytest.mark.skipif(not WORDNET.is_file(), reason=f"no WordNet at {WORDNET}; set FTBENCH_DATA_ROOT")
def test_wordnet_gives_synonyms_of_common_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTBENCH_DATA_ROOT", str(WORDNET.parents[1]))
    synonyms = read_synonyms(lexicon_path("open_english_wordnet/synsets.parquet"))
    assert {"movie", "picture"} <= set(synonyms["film"])
    assert "automobile" in synonyms["car"]
    rows = Examples(["p"], ["A quick car passed the big house near the old school"], None, np.array([0]))
    found = augmented(rows, variants=8, synonyms="open_english_wordnet/synsets.parquet")
    assert {word for text in found.text_a for word in text.split()} - set(rows.text_a[0].split())


def test_settings_that_need_a_list_and_companions_by_row_are_refused() -> None:
    def check(**config: Any) -> list[str]:
        return Eda.check(Eda.Config(**config), Training(), "classification", [])

    assert check(operations=("replacement",))
    assert check(synonyms_sha256="0")
    assert not check()
    assert not check(synonyms="list.txt", operations=("replacement",))
    assert Eda.check(Eda.Config(), Training(), "classification", [ShallowEnsemble])
