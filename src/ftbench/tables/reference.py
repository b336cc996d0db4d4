"""The page `docs/tables.md`, made from the schemas so that it cannot say something else than the code.

Run `python -m ftbench.tables.reference > docs/tables.md` after changing a schema; a test compares the two.
"""

from __future__ import annotations

import sys

from ftbench.tables.column import FLAG, INTEGER, NUMBER, SCHEMA_VERSION, SINGLE, TEXT, TIME, Column, Table
from ftbench.tables.schema import TABLES

_TYPES = {TEXT: "text", INTEGER: "integer", NUMBER: "number", SINGLE: "number (single)", FLAG: "true/false"}

_INTRODUCTION = f"""# Tables and columns

Generated from the schemas by `python -m ftbench.tables.reference > docs/tables.md`; edit those instead.

A study's tables lie in `results/<study>/tables/<table>.parquet`, except `predictions`, of which every
artifact has its own file `results/<study>/predictions/<artifact>/predictions.parquet`. Scores are fractions;
only the report shows percent. Times are UTC. Every file carries the schema version ({SCHEMA_VERSION} here) in
its metadata under the key `ftbench`, and is checked against these columns when it is written and when it is
read. A null means that there is no value, never zero.
"""


def page() -> str:
    """The Markdown text of the page, ending in a newline."""
    parts = [_INTRODUCTION, *(_section(table) for table in TABLES.values())]
    return "\n".join(parts)


def _section(table: Table) -> str:
    key = ", ".join(f"`{name}`" for name in table.key)
    lines = [
        f"## {table.name}",
        "",
        table.description,
        "",
        f"Key: {key}.",
        "",
        "| column | type | null | allowed | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{item.name}` | {_type(item)} | {'yes' if item.nullable else 'no'} | {_allowed(item)} "
        f"| {item.description.replace('|', '&#124;')} |"
        for item in table.columns
    ]
    return "\n".join(lines) + "\n"


def _type(column: Column) -> str:
    if column.type == TIME:
        return "time"
    if column.type in _TYPES:
        return _TYPES[column.type]
    return f"list of {_TYPES[column.type.value_type]}"


def _allowed(column: Column) -> str:
    if column.values is not None:
        return ", ".join(column.values)
    if column.low is not None and column.high is not None:
        return f"{column.low:g} to {column.high:g}"
    if column.low is not None:
        return f"{column.low:g} or more"
    return ""


if __name__ == "__main__":
    sys.stdout.write(page())
