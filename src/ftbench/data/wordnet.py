"""WordNet's own dictionary files: sets of words that mean the same, opposites, and base forms of inflected words.

The reader of lexicons calls this for a folder with `data.noun`, `data.verb`, `data.adj` and `data.adv`, as WordNet
and the Debian package `wordnet-base` have them. It needs none of the index files: they say again, by word, what the
data files say by meaning. It fetches nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ftbench.config.errors import FtbenchError

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}  # of speech: ends of the files' names, and one letter each
_ANTONYM = "!"
# what an ending becomes in a base form, by part of speech (manual page morphy(7WN))
_ENDINGS = {
    "n": (("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
          ("men", "man"), ("ies", "y")),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}  # fmt: skip


@dataclass(frozen=True)
class Dictionary:
    """One synset an entry of `groups`: its part of speech (n, v, a, r) and its words, spaces between their parts."""

    groups: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    opposites: list[tuple[str, str]] = field(default_factory=list)
    irregular: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)  # by form and part of speech


def is_dictionary(folder: Path) -> bool:
    """Whether a folder holds at least one of WordNet's data files."""
    return any((folder / f"data.{name}").is_file() for name in PARTS)


def read_dictionary(folder: Path) -> Dictionary:
    """The dictionary files of a folder. A missing data file, or a line that is none of WordNet's, raises an
    `FtbenchError`; files of irregular forms (`*.exc`) may be absent."""
    missing = [f"data.{name}" for name in PARTS if not (folder / f"data.{name}").is_file()]
    if missing:
        raise FtbenchError(f"{folder}: found no {', '.join(missing)}; expected WordNet's four data files")
    found = Dictionary()
    words: dict[tuple[str, str], tuple[str, ...]] = {}  # by part of speech and offset
    pointers: list[tuple[str, tuple[str, str], str]] = []
    for name, part in PARTS.items():
        file = folder / f"data.{name}"
        for number, line in _lines(file):
            try:
                offset, members, opposites = _synset(line)
            except (IndexError, ValueError):
                raise FtbenchError(
                    f"{file}, line {number}: found {line[:60]!r}; expected a synset as in manual page wndb(5WN): "
                    "offset, file number, part of speech, count of words in hexadecimal digits, words"
                ) from None
            words[part, offset] = members
            found.groups.append((part, members))
            pointers += [(members[own - 1], (other_part, other), place) for own, other_part, other, place in opposites]
        found.irregular.update(_irregular(folder / f"{name}.exc", part))
    for word, target, place in pointers:
        others = words.get(target, ())
        if 0 < int(place, 16) <= len(others):
            found.opposites.append((word, others[int(place, 16) - 1]))
    return found


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.startswith("  ") and line.strip():  # the licence stands above, indented
                yield number, line


def _synset(line: str) -> tuple[str, tuple[str, ...], list[tuple[int, str, str, str]]]:
    """Offset, words, and the opposites: number of the own word, part of speech, offset and number of the other."""
    fields = line.partition("|")[0].split()
    count = int(fields[3], 16)
    words = tuple(_word(fields[4 + 2 * number]) for number in range(count))
    start = 4 + 2 * count
    opposites = []
    for number in range(int(fields[start])):
        symbol, offset, part, places = fields[start + 1 + 4 * number : start + 5 + 4 * number]
        if symbol == _ANTONYM and int(places[:2], 16):
            opposites.append((int(places[:2], 16), "a" if part == "s" else part, offset, places[2:]))
    if fields[2] not in "nvasr" or not words:
        raise ValueError
    return fields[0], words, opposites


def _word(text: str) -> str:
    # adjectives may end in a mark of their place, as in `outback(a)`
    return text.partition("(")[0].replace("_", " ")


def _irregular(file: Path, part: str) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    if file.is_file():
        for _, line in _lines(file):
            form, *bases = line.split()
            yield (form.replace("_", " "), part), tuple(base.replace("_", " ") for base in bases)


def base_forms(
    word: str, part: str, known: Collection[str], irregular: Mapping[tuple[str, str], tuple[str, ...]]
) -> tuple[str, ...]:
    """The word and its base forms that are in `known`, a lower-case `word` as a noun, verb, adjective or adverb.

    Irregular forms have their bases listed; of all others an ending is taken off or exchanged (morphy(7WN), once).
    """
    forms = irregular.get((word, part))
    if forms is None:
        endings = _ENDINGS.get(part, ())
        forms = tuple(word[: -len(old)] + new for old, new in endings if word.endswith(old) and len(word) > len(old))
    return tuple(form for form in dict.fromkeys((word, *forms)) if form in known)
