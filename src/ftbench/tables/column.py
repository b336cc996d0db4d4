"""What a table and a column are: names, types, limits, and one line of description each.

`tables/schema.py` declares the tables with these types, `tables/store.py` checks files against them and
`tables/reference.py` turns them into a page. Nothing here reads or writes a file.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

# The number that every file carries; raised when a column changes its name, type or meaning, or any is added to a
# table that there was. `tables/versions.py` says how a file of an older version is read.
SCHEMA_VERSION = 3

TEXT = pa.string()
INTEGER = pa.int64()
NUMBER = pa.float64()
SINGLE = pa.float32()
FLAG = pa.bool_()
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column. `values` lists what a text column may hold; `low` and `high` bound a number, ends included.

    Of a column of lists they describe the elements. A column with `json` holds JSON text; writers may hand over the
    mapping or list itself.
    """

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False
    values: tuple[str, ...] | None = None
    low: float | None = None
    high: float | None = None
    json: bool = False


@dataclass(frozen=True)
class Table:
    """One kind of file: columns in order, and the columns whose values together occur once.

    `ordered` holds pairs of columns of which the first may not exceed the second.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    ordered: tuple[tuple[str, str], ...] = ()

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    def arrow(self) -> pa.Schema:
        """The Arrow schema, without metadata."""
        return pa.schema([pa.field(item.name, item.type, nullable=item.nullable) for item in self.columns])
