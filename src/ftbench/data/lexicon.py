"""Lexicons that the user brings: words that mean the same, by part of speech where the file has it, and opposites.

Augmentation, word-substitution attacks and their constraints ask here. A lexicon is a folder of WordNet's dictionary
files, a Parquet file of synsets or of pairs, or plain lines. Nothing is shipped or fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ftbench.config.errors import FtbenchError
from ftbench.data.parquet import read_parquet_file
from ftbench.data.wordnet import PARTS, base_forms, is_dictionary, read_dictionary
from ftbench.paths import data_root, local_place

Group = tuple[str, tuple[str, ...]]  # part of speech (n, v, a, r; empty where not known), words of one meaning


@dataclass(frozen=True)
class Lexicon:
    """Groups of words that mean the same, with the words' base forms and opposites where the source has them."""

    source: str
    groups: list[Group]
    opposites: list[tuple[str, str]] = field(default_factory=list)
    irregular: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def _places(self) -> dict[str, dict[str, list[int]]]:
        """By part of speech and lower-case word: the groups that it is in."""
        found: dict[str, dict[str, list[int]]] = {}
        for number, (part, words) in enumerate(self.groups):
            index = found.setdefault(part, {})
            for word in dict.fromkeys(word.lower() for word in words):
                index.setdefault(word, []).append(number)
        return found

    @property
    def has_parts(self) -> bool:
        """Whether the source tells the part of speech of its words."""
        return bool(set(self._places) - {""})

    def parts_of_speech(self, word: str) -> frozenset[str]:
        """Those under which the word or a base form of it is listed: n, v, a, r; empty for an unknown word."""
        return frozenset(part for part in PARTS.values() if self._forms(word.lower(), part))

    def _forms(self, word: str, part: str) -> tuple[str, ...]:
        index = self._places.get(part)
        return base_forms(word, part, index, self.irregular) if index else ()

    def synonyms(self, word: str, part: str | None = None) -> tuple[str, ...]:
        """Words that mean the same as `word` or a base form of it, sorted, itself left out; for one part of speech
        or for all. Some are several words with spaces between them."""
        word = word.lower()
        found: set[str] = set()
        for known, index in self._places.items():
            if part in (None, known):
                forms = self._forms(word, known) if known else (word,)
                found.update(
                    other for form in forms for number in index.get(form, ()) for other in self.groups[number][1]
                )
        return tuple(sorted(other for other in found if other.lower() != word))


def lexicon_path(name: str, key: str = "synonyms") -> Path:
    """The file or folder of that path: as it stands, or else below `data_root`. A missing one raises an
    `FtbenchError` that names the key."""
    place, root = local_place(name), data_root()
    if place.exists():
        return place
    tried = [place, *([root / name] if root else [])]
    raise FtbenchError(
        f"key `{key}`: found no file `{name}`; tried {', '.join(map(str, tried))}. "
        "Give a path, or set FTBENCH_DATA_ROOT to the folder that it lies in."
    )


def compare_digest(place: Path, digest: str | None, key: str) -> None:
    """Refuse a file with another sha256 than `digest`; of a folder that of its files' digests, in order of names."""
    if digest is None:
        return
    found = digest_of(place)
    if found != digest.lower():
        raise FtbenchError(
            f"{place}: found a file with sha256 {found}; expected {digest} (key `{key}`). "
            "Bring back the file, or change the key: results with another list are other results."
        )


def digest_of(place: Path) -> str:
    """sha256 of a file; of a folder that of its files' names and digests, in order of names."""
    if place.is_file():
        return hashlib.sha256(place.read_bytes()).hexdigest()
    files = sorted(file for file in place.iterdir() if file.is_file())
    return hashlib.sha256("".join(f"{file.name} {digest_of(file)}\n" for file in files).encode()).hexdigest()


def read_lexicon(place: Path) -> Lexicon:
    """A lexicon from a folder of WordNet's dictionary files, from a Parquet file with a column `members` (lists of
    words that mean the same, beside them `pos`) or the columns `word1` and `word2`, or from any other file with one
    group of synonyms a line, between commas or tabs."""
    if place.is_dir():
        if not is_dictionary(place):
            raise FtbenchError(
                f"{place}: found a folder without WordNet's files (data.noun, ...); expected those, a Parquet file of "
                "synsets or pairs, or a text file with a group of synonyms a line"
            )
        found = read_dictionary(place)
        return Lexicon(str(place), found.groups, found.opposites, found.irregular)
    groups = _parquet_groups(place) if place.suffix == ".parquet" else _line_groups(place)
    cleaned = [(part, tuple(word.replace("_", " ").strip() for word in words)) for part, words in groups]
    kept = [(part, tuple(word for word in words if word)) for part, words in cleaned]
    if not any(len({word.lower() for word in words}) > 1 for _, words in kept):
        raise FtbenchError(f"{place}: found no two words that mean the same; expected groups of synonyms")
    return Lexicon(str(place), kept)


def read_antonyms(place: Path) -> dict[str, frozenset[str]]:
    """Opposites of each lower-case word, from WordNet's dictionary files, pairs in Parquet, or lines of pairs."""
    pairs: Iterable[tuple[str, ...]]
    lexicon = read_lexicon(place)
    pairs = lexicon.opposites if place.is_dir() else (words for _, words in lexicon.groups)
    if lexicon.has_parts and not place.is_dir():
        raise FtbenchError(f"{place}: found synsets, whose words mean the same; expected pairs of opposites")
    found: dict[str, set[str]] = {}
    for pair in pairs:
        if len(pair) != 2:
            raise FtbenchError(f"{place}: found {len(pair)} words in one group; expected pairs of opposites")
        first, second = pair[0].lower(), pair[1].lower()
        found.setdefault(first, set()).add(second)
        found.setdefault(second, set()).add(first)
    return {word: frozenset(others) for word, others in found.items()}


def read_synonyms(place: Path, digest: str | None = None) -> dict[str, tuple[str, ...]]:
    """Synonyms of each lower-case word as it stands, over all parts of speech, sorted, the word itself left out.
    `digest` is the sha256 that the file has to have."""
    compare_digest(place, digest, "synonyms_sha256")
    listed: dict[str, set[str]] = {}
    for _, words in read_lexicon(place).groups:
        for word in words:
            others = {other for other in words if other.lower() != word.lower()}
            if others:
                listed.setdefault(word.lower(), set()).update(others)
    return {word: tuple(sorted(others)) for word, others in listed.items()}


def _parquet_groups(file: Path) -> Iterable[Group]:
    table = read_parquet_file(file)
    if "members" in table.column_names:
        members = table.column("members").to_pylist()
        parts = table.column("pos").to_pylist() if "pos" in table.column_names else [""] * len(members)
        # satellites (s) are adjectives
        return [("a" if part == "s" else part, tuple(group or ())) for part, group in zip(parts, members, strict=True)]
    if {"word1", "word2"} <= set(table.column_names):
        pairs = zip(table.column("word1").to_pylist(), table.column("word2").to_pylist(), strict=True)
        return [("", (str(first), str(second))) for first, second in pairs]
    raise FtbenchError(f"{file}: found the columns {table.column_names}; expected `members`, or `word1` and `word2`")


def _line_groups(file: Path) -> Iterable[Group]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FtbenchError(f"{file}: found no text in UTF-8 ({error}); expected a group of synonyms a line") from None
    return [("", tuple(line.replace("\t", ",").split(","))) for line in lines]
