"""Rows of a prior task: the pool that a model is trained on, and the evaluation rows that never enter it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SEED = 0  # one prior model for the whole study, whatever the seeds of its runs


def hashes(table: pa.Table) -> list[str]:
    """A hash of each row's text, equal for texts that differ only in case and punctuation."""
    from ftbench.data.sampling import text_hash

    return [
        text_hash(a, b)
        for a, b in zip(table.column("text_a").to_pylist(), table.column("text_b").to_pylist(), strict=True)
    ]


def trained_rows(pool: pa.Table, rows: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The rows of the pool that a model is trained on where a study takes `rows` of them: indices, ascending."""
    from ftbench.data.sampling import strata_of, stratified

    strata = strata_of(pool.column("label").to_pylist(), pool.column("value").to_pylist())
    return stratified(strata, rows, generator)


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
