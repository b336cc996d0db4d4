"""Rows for people and programs: a table in the terminal, CSV, JSON or a Parquet file."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import pyarrow as pa

# rows that a terminal shows; the other formats have all
SHOWN = 200


class Format(StrEnum):
    """Forms of output."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def emit(rows: pa.Table, form: Format, file: Path | None = None) -> None:
    """Write rows to a file, or to standard output; Parquet needs a file."""
    from pyarrow import parquet

    if form is Format.parquet:
        if file is None:
            raise FtbenchError("found no `--output`; expected a file for the format parquet, which is not text")
        parquet.write_table(rows, file)
        return
    text = {Format.table: _table, Format.csv: _csv, Format.json: _json}[form](rows)
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")


def _csv(rows: pa.Table) -> str:
    """As Python's csv writer has it; lists as JSON, nulls empty."""
    import csv
    from io import StringIO

    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows.column_names)
    writer.writerows([_plain(value) for value in row.values()] for row in rows.to_pylist())
    return out.getvalue()


def _json(rows: pa.Table) -> str:
    return json.dumps(rows.to_pylist(), indent=1, ensure_ascii=False, default=str) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.isoformat() if isinstance(value, datetime) else value


def _table(rows: pa.Table) -> str:
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for field in rows.schema:
        numeric = str(field.type) in ("double", "float", "int64", "int32")
        shown.add_column(Text(field.name), justify="right" if numeric else "left", overflow="fold")
    for row in rows.slice(0, SHOWN).to_pylist():
        shown.add_row(*(Text(_printed(value)) for value in row.values()))  # text, so that names are no markup
    out = StringIO()
    width = None if sys.stdout.isatty() else 200
    Console(file=out, width=width).print(shown)
    more = rows.num_rows - SHOWN
    return out.getvalue() + (f"... and {more} more rows; --format csv has all\n" if more > 0 else "")


def _printed(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(_plain(value))
