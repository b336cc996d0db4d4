"""Whether the content of a table is valid: nulls, limits, enumerations, order of intervals, unique keys.

Called by `tables/store.py` on every write and every read, so that a bad file is found where it enters. Checks
are on whole columns; nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
from pyarrow import compute

from ftbench.tables.column import Column, Table

# single-precision probabilities may exceed 1 by a rounding error
_SLACK = 1e-6


def problems(declared: Table, arrow: pa.Table) -> list[tuple[str, str]]:
    """Every problem as column (or key) and what was found there; empty for a valid table."""
    found: list[tuple[str, str]] = []
    for column in declared.columns:
        values = arrow.column(column.name)
        wrong = _of_lists(column, values) if pa.types.is_list(column.type) else _of_column(column, values)
        found += [(column.name, f"{text}, {_row(declared, arrow, bad)}") for text, bad in wrong]
    for first, second in declared.ordered:
        above = compute.greater(arrow.column(first), arrow.column(second))
        if compute.any(above).as_py():
            found.append((first, f"values above `{second}` of the same row, {_row(declared, arrow, above)}"))
    found += [(", ".join(declared.key), text) for text in _repeated(declared, arrow)]
    return found


def _row(declared: Table, arrow: pa.Table, bad: pa.ChunkedArray) -> str:
    """The first row for which `bad` is true, by number (from 0) and key."""
    number = compute.index(compute.fill_null(bad, False), True).as_py()
    key = ", ".join(f"{name} {arrow.column(name)[number].as_py()!r}" for name in declared.key)
    return f"first in row {number} ({key})"


def _of_column(column: Column, values: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """What is wrong with a column, each with a mask of the rows that are meant."""
    if values.null_count and not column.nullable:
        yield f"{values.null_count} nulls where a value is required", compute.is_null(values)
    if values.null_count == len(values):
        return
    if pa.types.is_floating(column.type):
        odd = compute.invert(compute.is_finite(values))
        count = compute.sum(odd).as_py()
        if count:
            yield f"{count} values that are infinite or not a number; null stands for `undefined`", odd
            return
    if column.values is not None:
        known = pa.array(column.values, column.type)
        strange = compute.and_(compute.is_valid(values), compute.invert(compute.is_in(values, value_set=known)))
        if compute.any(strange).as_py():
            names = compute.unique(values.filter(strange)).to_pylist()
            yield f"{names[:5]}, none of {list(column.values)}", strange
    if column.low is not None or column.high is not None:
        limits = compute.min_max(values).as_py()
        if column.low is not None and limits["min"] < column.low - _SLACK:
            yield f"{limits['min']}, below {column.low}", compute.less(values, column.low - _SLACK)
        if column.high is not None and limits["max"] > column.high + _SLACK:
            yield f"{limits['max']}, above {column.high}", compute.greater(values, column.high + _SLACK)


def _of_lists(column: Column, values: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The same for a column of lists: limits and enumerations hold for their elements, which may be null."""
    if values.null_count and not column.nullable:
        yield f"{values.null_count} nulls where a value is required", compute.is_null(values)
    if column.low is None and column.high is None and column.values is None:
        return
    owners = compute.list_parent_indices(values)
    elements = replace(column, type=column.type.value_type, nullable=True)
    for text, bad in _of_column(elements, compute.list_flatten(values)):
        rows = compute.unique(owners.filter(compute.fill_null(bad, False)))
        yield text, pa.chunked_array([compute.is_in(pa.array(range(len(values)), pa.int64()), value_set=rows)])


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
