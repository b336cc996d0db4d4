"""Near-duplicates: rows of evaluation sets that almost stand in a training set.

Two rows are near where every text of the one has, with its counterpart, a Jaccard similarity of at least `THRESHOLD`
between their sets of characters `SHINGLE` in a row, in the normal form of `data.sampling`. MinHash (datasketch)
proposes pairs and the similarity itself decides, so no pair is reported by chance; called by the stage `audit`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ftbench.data.sampling import normal_text

SHINGLE = 5  # characters
THRESHOLD = 0.8
PERMUTATIONS = 128
# bands of 4 hashes: a pair at the threshold is passed over with probability (1 - 0.8^4)^32 = 5e-8
BANDS = (32, 4)
RULE = (
    f"Jaccard similarity of {SHINGLE}-character shingles >= {THRESHOLD} in each text, case and punctuation aside; "
    f"candidates by MinHash, {PERMUTATIONS} permutations in {BANDS[0]} bands"
)
# of the index, for each evaluation row: measured with datasketch 2.0
BYTES_A_ROW = 11_000
_TOLD_EVERY = 20_000  # training rows

Texts = tuple[str, ...]  # the normal forms of a row: one, or two of a pair


@dataclass(frozen=True)
class Near:
    """An evaluation row, the first training row that is near to it, and their similarity: that of the less similar
    text of a pair."""

    row: int
    train_row: int
    similarity: float


def normal_texts(first: Sequence[str], second: Sequence[str | None]) -> list[Texts]:
    """The normal forms of texts or pairs of texts, one tuple a row."""
    return [
        (normal_text(a),) if b is None else (normal_text(a), normal_text(b)) for a, b in zip(first, second, strict=True)
    ]


def shingles(text: str) -> frozenset[str]:
    """All runs of `SHINGLE` characters; a shorter text is one run."""
    return frozenset(text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1)))


def similarity(one: Texts, other: Texts) -> float:
    """Jaccard similarity |A and B| / |A or B| of the shingles, of a pair that of its less similar texts; 0 between a
    text and a pair."""
    if len(one) != len(other):
        return 0.0
    return min(_jaccard(_shingles(a), _shingles(b)) for a, b in zip(one, other, strict=True))


# pairs are proposed by the training row, so its shingles are asked for many times in a row
_shingles = lru_cache(maxsize=4096)(shingles)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    if min(len(one), len(other)) < THRESHOLD * max(len(one), len(other)):
        return 0.0  # cannot reach the threshold
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def near_duplicates(
    train: Sequence[Texts], rows: Sequence[Texts], tell: Callable[[str], None] = lambda _: None
) -> list[Near]:
    """Every row that is near to a training row, in the order of `rows`.

    The evaluation rows are indexed and the training rows pass by, so memory grows with the evaluation rows alone:
    `BYTES_A_ROW` each, beside their texts.
    """
    from datasketch import MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=BANDS)
    for row, signature in enumerate(_signatures(rows)):
        index.insert(row, signature)
    found: dict[int, Near] = {}
    passed: set[Texts] = set()
    for number, (texts, signature) in enumerate(zip(train, _signatures(train), strict=True)):
        if number and number % _TOLD_EVERY == 0:
            tell(f"near-duplicates: {number:,} of {len(train):,} training rows passed, {len(found)} found")
        if texts in passed:
            continue
        passed.add(texts)
        for row in sorted(index.query(signature)):
            if row not in found:
                value = similarity(texts, rows[row])
                if value >= THRESHOLD:
                    found[row] = Near(row, number, value)
    return [found[row] for row in sorted(found)]


def _signatures(rows: Sequence[Texts]) -> Iterator[object]:
    """A MinHash of each row. The shingles of a pair's texts are kept apart by a mark: where both texts reach the
    threshold, so does the union, which therefore misses no pair of pairs."""
    from datasketch import MinHash

    start = MinHash(PERMUTATIONS, seed=1, hashfunc=zlib.crc32, scheme="affine32")
    for texts in rows:
        signature = start.copy()
        signature.update_batch(
            [f"{part}{shingle}".encode() for part, text in enumerate(texts) for shingle in shingles(text)]
        )
        yield signature
