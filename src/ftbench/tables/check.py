"""Whether the content of a table is valid: nulls, limits, enumerations, order of intervals, unique keys.

Called by `tables/store.py` on every write and every read, so that a bad file is found where it enters. Checks
are on whole columns; nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import compute

from ftbench.tables.column import Column, Table

# single-precision probabilities may exceed 1 by a rounding error
_SLACK = 1e-6


def problems(declared: Table, arrow: pa.Table) -> list[tuple[str, str]]:
    """Every problem as column (or key) and what was found there; empty for a valid table."""
    found: list[tuple[str, str]] = []
    for column in declared.columns:
        found += [(column.name, text) for text in _of_column(column, arrow.column(column.name))]
    for first, second in declared.ordered:
        if compute.any(compute.greater(arrow.column(first), arrow.column(second))).as_py():
            found.append((first, f"values above `{second}` of the same row"))
    found += [(", ".join(declared.key), text) for text in _repeated(declared, arrow)]
    return found


def _of_column(column: Column, values: pa.ChunkedArray) -> Iterator[str]:
    if values.null_count and not column.nullable:
        yield f"{values.null_count} nulls where a value is required"
    present = values.drop_null()
    if len(present) == 0:
        return
    if pa.types.is_floating(column.type):
        odd = len(present) - compute.sum(compute.is_finite(present)).as_py()
        if odd:
            yield f"{odd} values that are infinite or not a number; null stands for `undefined`"
            return
    if column.values is not None:
        strange = compute.unique(
            present.filter(compute.invert(compute.is_in(present, value_set=pa.array(column.values, column.type))))
        ).to_pylist()
        if strange:
            yield f"{strange[:5]}, none of {list(column.values)}"
    if column.low is not None or column.high is not None:
        limits = compute.min_max(present).as_py()
        if column.low is not None and limits["min"] < column.low - _SLACK:
            yield f"{limits['min']}, below {column.low}"
        if column.high is not None and limits["max"] > column.high + _SLACK:
            yield f"{limits['max']}, above {column.high}"


def _repeated(declared: Table, arrow: pa.Table) -> Iterator[str]:
    keys = arrow.select(list(declared.key))
    if keys.num_rows < 2:
        return
    counts = keys.group_by(list(declared.key), use_threads=False).aggregate([([], "count_all")])
    if counts.num_rows == keys.num_rows:
        return
    twice = counts.filter(compute.greater(counts.column("count_all"), 1)).slice(0, 1).to_pylist()[0]
    times = twice.pop("count_all")
    yield f"the key {tuple(twice.values())} {times} times, where once is allowed"
