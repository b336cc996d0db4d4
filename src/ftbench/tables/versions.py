"""Reading files of older schema versions: one function a step, from a version to the next.

`tables/store.py` calls this before it checks a file. A step fills in what the older writer could not know, never what
it might have meant; the version that was found stays in the table's metadata.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from ftbench.tables.column import SCHEMA_VERSION


def _with_constants(**values: str | bool) -> Callable[[pa.Table], pa.Table]:
    """A step that adds columns in which all rows are equal."""

    def step(table: pa.Table) -> pa.Table:
        for name, value in values.items():
            if name not in table.column_names:
                table = table.append_column(name, pa.array([value] * table.num_rows, pa.scalar(value).type))
        return table

    return step


# table and version to the step that leads to the next version; a table without a step did not change
_STEPS: dict[tuple[str, int], Callable[[pa.Table], pa.Table]] = {
    # version 1 held nothing but the test over seeds with the baseline
    ("comparisons", 1): _with_constants(scope="baseline", primary=True),
}


def readable(version: object) -> bool:
    """Whether files of this version can be read."""
    return isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= SCHEMA_VERSION


def upgraded(name: str, version: int, table: pa.Table) -> pa.Table:
    """The table `name` of an older version in the shape of the present one; its metadata stays."""
    metadata = table.schema.metadata
    for step in range(version, SCHEMA_VERSION):
        table = _STEPS.get((name, step), lambda same: same)(table)
    return table.replace_schema_metadata(metadata)
