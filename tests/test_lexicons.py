"""Lexicons and word vectors that users bring: what is read from them, and what is refused in words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from ftbench.config.errors import FtbenchError
from ftbench.data.lexicon import digest_of, lexicon_path, read_antonyms, read_lexicon, read_synonyms
from ftbench.data.word_vectors import read_vectors

DATA = Path(os.environ.get("FTBENCH_DATA_ROOT") or Path(__file__).parents[2] / "shared" / "data")
DEBIAN = Path("/usr/share/wordnet")
# written by hand after manual page wndb(5WN): the second synset of data.adj has three words, of which the third
# is the opposite of the first synset's first
FILES = {
    "data.noun": "  1 licence\n"
    '00000010 06 n 02 film 0 motion_picture 0 001 @ 00000020 n 0000 | a story; "they went to see a film"\n'
    "00000020 06 n 01 fly 1 000 | an insect\n",
    "data.verb": "00000010 38 v 02 travel 0 go 0 001 ! 00000020 v 0201 01 + 02 00 | change place\n"
    "00000020 38 v 01 stop 0 001 ! 00000010 v 0102 01 + 02 00 | stay\n"
    "00000030 38 v 02 fly 0 wing 0 000 01 + 02 00 | travel through the air\n",
    "data.adj": "00000010 00 a 02 good 0 sound(p) 0 001 ! 00000020 a 0103 | fine\n"
    "00000020 00 s 03 dire 0 poor 1 bad 0 002 ! 00000010 a 0301 & 00000030 a 0000 | not fine\n",
    "data.adv": "",
    "verb.exc": "went go\n",
}


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    folder = tmp_path / "wordnet"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_wordnet_files_give_synonyms_by_part_of_speech_sorted_and_without_the_word(dictionary: Path) -> None:
    lexicon = read_lexicon(dictionary)
    assert lexicon.synonyms("film") == ("motion picture",)
    assert lexicon.synonyms("BAD") == ("dire", "poor")
    assert lexicon.synonyms("fly", "n") == ()
    assert lexicon.synonyms("fly", "v") == lexicon.synonyms("fly") == ("wing",)
    assert lexicon.synonyms("good") == ("sound",)  # without the mark of its place
    assert lexicon.synonyms("unheard") == ()


def test_inflected_words_are_found_by_their_base_forms(dictionary: Path) -> None:
    lexicon = read_lexicon(dictionary)
    assert lexicon.synonyms("films") == ("film", "motion picture")
    assert lexicon.synonyms("went") == ("go", "travel")  # irregular, from verb.exc
    assert lexicon.synonyms("flies") == ("fly", "wing")
    assert lexicon.synonyms("travelling") == ()  # the rules of morphy do not undo double letters


def test_the_parts_of_speech_of_a_word_are_those_it_is_listed_under(dictionary: Path) -> None:
    lexicon = read_lexicon(dictionary)
    assert lexicon.parts_of_speech("flies") == {"n", "v"}
    assert lexicon.parts_of_speech("Poor") == {"a"}
    assert lexicon.parts_of_speech("unheard") == frozenset()


def test_opposites_of_wordnet_join_the_words_and_not_the_synsets(dictionary: Path) -> None:
    found = read_antonyms(dictionary)
    assert found == {
        "go": frozenset({"stop"}), "stop": frozenset({"go"}), "good": frozenset({"bad"}), "bad": frozenset({"good"}),
    }  # fmt: skip


@pytest.mark.skipif(not (DEBIAN / "data.noun").is_file(), reason="wordnet-base is not installed")
def test_wordnet_3_has_as_many_synsets_as_its_authors_say() -> None:
    """wnstats(7WN): 82,115 nouns, 13,767 verbs, 18,156 adjectives, 3,621 adverbs."""
    lexicon = read_lexicon(DEBIAN)
    counts = [sum(part == wanted for part, _ in lexicon.groups) for wanted in "nvar"]
    assert counts == [82115, 13767, 18156, 3621]
    assert len(lexicon.groups) == 117659
    assert "bad" in read_antonyms(DEBIAN)["good"]
    assert "travel" in lexicon.synonyms("went")


@pytest.mark.skipif(not (DATA / "open_english_wordnet").is_dir(), reason="no real data")
def test_open_english_wordnet_and_pairs_are_read_from_parquet() -> None:
    lexicon = read_lexicon(DATA / "open_english_wordnet" / "synsets.parquet")
    assert len(lexicon.groups) == 107525
    assert {"flick", "movie"} <= set(lexicon.synonyms("films", "n"))
    assert lexicon.parts_of_speech("green") >= {"n", "a"}  # satellites are adjectives
    assert "unable" in read_antonyms(DATA / "word_constraints" / "wordnet_antonyms.parquet")["able"]
    assert "prohibit" in read_lexicon(DATA / "word_constraints" / "ppdb_synonyms.parquet").synonyms("aban")


def test_augmentation_reads_a_folder_of_wordnet_and_compares_its_digest(dictionary: Path) -> None:
    digest = digest_of(dictionary)
    assert read_synonyms(dictionary, digest)["bad"] == ("dire", "poor")
    (dictionary / "verb.exc").write_text("flew fly\n", encoding="utf-8")
    with pytest.raises(FtbenchError, match=r"sha256.*`synonyms_sha256`"):
        read_synonyms(dictionary, digest)


def test_what_is_no_lexicon_is_refused_with_what_was_expected(dictionary: Path, tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match=r"key `lexicon`: found no file `nowhere`"):
        lexicon_path("nowhere", "lexicon")
    with pytest.raises(FtbenchError, match=r"folder without WordNet's files"):
        read_lexicon(tmp_path)
    (dictionary / "data.adv").unlink()
    with pytest.raises(FtbenchError, match=r"found no data.adv"):
        read_lexicon(dictionary)
    (dictionary / "data.adv").write_text("good,fine\n", encoding="utf-8")
    with pytest.raises(FtbenchError, match=r"data.adv, line 1: found 'good,fine"):
        read_lexicon(dictionary)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00film")
    with pytest.raises(FtbenchError, match="no text in UTF-8"):
        read_lexicon(tmp_path / "binary.txt")
    parquet.write_table(pa.table({"members": [["a", "b"]], "pos": ["n"]}), tmp_path / "synsets.parquet")
    with pytest.raises(FtbenchError, match=r"expected pairs of opposites"):
        read_antonyms(tmp_path / "synsets.parquet")


VECTORS = np.array([[1, 0], [3, 4], [-2, 0], [0, 0], [2, 0]], dtype=np.float32)
WORDS = ["east", "slant", "west", "nothing", "eastwards"]


@pytest.mark.parametrize("form", ["text", "headed", "safetensors"])
def test_neighbours_come_by_cosine_from_every_format(form: str, tmp_path: Path) -> None:
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(WORDS, VECTORS, strict=True)]
    if form == "headed":
        lines.insert(0, "5 2")
    file = tmp_path / "vectors.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if form == "safetensors":
        file.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
        file = tmp_path / "vectors.safetensors"
        save_file({"vectors": VECTORS}, file)
    vectors = read_vectors(file)
    assert vectors.words == tuple(WORDS)
    found = vectors.neighbours("east", 3)
    assert [word for word, _ in found] == ["eastwards", "slant", "nothing"]
    assert [cosine for _, cosine in found] == pytest.approx([1, 0.6, 0])  # 3 / 5
    assert [word for word, _ in vectors.neighbours("east", 3, least=0.5)] == ["eastwards", "slant"]
    assert vectors.neighbours("unheard", 3) == []
    assert vectors.cosine("slant", "west") == pytest.approx(-0.6)
    assert vectors.cosine("slant", "unheard") is None


def test_of_a_word_that_occurs_twice_the_first_vector_counts(tmp_path: Path) -> None:
    (tmp_path / "twice.txt").write_text("b 1 0\na 0 1\nb 0 1\n", encoding="utf-8")
    vectors = read_vectors(tmp_path / "twice.txt")
    assert vectors.words == ("b", "a")
    assert vectors.cosine("b", "a") == 0


def test_files_that_hold_no_vectors_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    for text, message in (("a 1 2\nb 1\n", "line 2: found no vector"), ("film,movie\n", "line 1: found no vector"),
                          ("", "found no vectors"), ("a 1 nan\n", "not finite for the word 'a'")):  # fmt: skip
        file.write_text(text, encoding="utf-8")
        with pytest.raises(FtbenchError, match=message):
            read_vectors(file)
    save_file({"vectors": VECTORS}, tmp_path / "lone.safetensors")
    with pytest.raises(FtbenchError, match=r"without lone.txt"):
        read_vectors(tmp_path / "lone.safetensors")
    (tmp_path / "lone.txt").write_text("one\n", encoding="utf-8")
    with pytest.raises(FtbenchError, match="5 vectors and 1 words"):
        read_vectors(tmp_path / "lone.safetensors")
    (tmp_path / "lone.safetensors").write_text("no")
    with pytest.raises(FtbenchError, match="no safetensors"):
        read_vectors(tmp_path / "lone.safetensors")
