"""Seeded, stratified choices of rows, and the normal form under which two texts count as equal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_PUNCTUATION = re.compile(r"[\W_]+")


def normal_text(*texts: str | None) -> str:
    """Lower case without punctuation; the parts of a pair stay apart."""
    return " | ".join(_PUNCTUATION.sub(" ", text).strip().casefold() for text in texts if text is not None)


def text_hash(*texts: str | None) -> str:
    """Equal for texts that differ only in case and punctuation."""
    return hashlib.sha256(normal_text(*texts).encode()).hexdigest()[:24]


def stratified(strata: Sequence[object], rows: int, generator: np.random.Generator) -> np.ndarray:
    """Indices of `rows` rows, sorted, each stratum in its share (largest remainders), drawn without replacement."""
    import numpy as np

    total = len(strata)
    if rows >= total:
        return np.arange(total)
    names = sorted({str(value) for value in strata})
    members = {name: [] for name in names}  # type: dict[str, list[int]]
    for index, value in enumerate(strata):
        members[str(value)].append(index)
    exact = {name: rows * len(members[name]) / total for name in names}
    share = {name: int(exact[name]) for name in names}
    for name in sorted(names, key=lambda item: (share[item] - exact[item], item))[: rows - sum(share.values())]:
        share[name] += 1
    chosen = [generator.permutation(members[name])[: share[name]] for name in names]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def strata_of(labels: Sequence[str | None], values: Sequence[float | None]) -> list[object]:
    """What to stratify by: the label, or the tenth of the score's range where there are no labels."""
    if any(label is not None for label in labels):
        return list(labels)
    known = sorted(value for value in values if value is not None)
    if not known:
        return [0] * len(labels)
    low, width = known[0], max(known[-1] - known[0], 1e-12)
    return [-1 if value is None else min(9, int(10 * (value - low) / width)) for value in values]
