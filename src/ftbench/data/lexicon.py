"""Lists of synonyms from a file that the user brings: WordNet synsets, pairs of words, or plain lines.

Augmentation asks for them by word. Nothing is shipped or fetched; without a file there are no synonyms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ftbench.config.errors import FtbenchError
from ftbench.data.parquet import read_parquet_file
from ftbench.paths import data_root


def lexicon_file(name: str) -> Path:
    """The file of that path: as it stands, or else below `data_root`. A missing one raises an `FtbenchError`."""
    root = data_root()
    tried = [Path(name), *([root / name] if root else [])]
    for file in tried:
        if file.is_file():
            return file
    raise FtbenchError(
        f"key `synonyms`: found no file `{name}`; tried {', '.join(map(str, tried))}. "
        "Give a path, or set FTBENCH_DATA_ROOT to the folder that it lies in."
    )


def read_synonyms(file: Path, digest: str | None = None) -> dict[str, tuple[str, ...]]:
    """Synonyms of each lower-case word, sorted, the word itself left out.

    A Parquet file has a column `members` (lists of words that mean the same, as in WordNet) or the columns `word1`
    and `word2`; any other file has one group of synonyms a line, between commas or tabs. `digest` is the sha256
    that the file has to have.
    """
    if digest is not None:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != digest.lower():
            raise FtbenchError(
                f"{file}: found a file with sha256 {found}; expected {digest} (key `synonyms_sha256`). "
                "Bring back the file, or change the key: results with another list are other results."
            )
    groups = _parquet_groups(file) if file.suffix == ".parquet" else _line_groups(file)
    listed: dict[str, set[str]] = {}
    for group in groups:
        words = [word.replace("_", " ").strip() for word in group]
        for word in words:
            others = {other for other in words if other and other.lower() != word.lower()}
            if word and others:
                listed.setdefault(word.lower(), set()).update(others)
    if not listed:
        raise FtbenchError(f"{file}: found no two words that mean the same; expected groups of synonyms")
    return {word: tuple(sorted(others)) for word, others in listed.items()}


def _parquet_groups(file: Path) -> Iterable[list[str]]:
    table = read_parquet_file(file)
    if "members" in table.column_names:
        return (list(group or []) for group in table.column("members").to_pylist())
    if {"word1", "word2"} <= set(table.column_names):
        pairs = zip(table.column("word1").to_pylist(), table.column("word2").to_pylist(), strict=True)
        return ([str(first), str(second)] for first, second in pairs)
    raise FtbenchError(f"{file}: found the columns {table.column_names}; expected `members`, or `word1` and `word2`")


def _line_groups(file: Path) -> Iterable[list[str]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        yield line.replace("\t", ",").split(",")
