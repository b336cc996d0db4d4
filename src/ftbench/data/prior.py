"""Rows of a prior task: the pool that a model is trained on, and the evaluation rows that never enter it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def hashes(table: pa.Table) -> list[str]:
    """A hash of each row's text, equal for texts that differ only in case and punctuation."""
    from ftbench.data.sampling import text_hash

    return [
        text_hash(a, b)
        for a, b in zip(table.column("text_a").to_pylist(), table.column("text_b").to_pylist(), strict=True)
    ]


def without_pool_texts(evaluation: pa.Table, pool: pa.Table) -> pa.Table:
    """The evaluation rows whose text does not occur in the pool, each text once."""
    import pyarrow as pa

    seen = set(hashes(pool))
    kept = []
    for row, value in enumerate(hashes(evaluation)):
        if value not in seen:
            seen.add(value)
            kept.append(row)
    return evaluation.take(pa.array(kept, pa.int64()))
