"""Reading the Parquet files that stages hand to each other, or that a user brings.

It stands apart from the sources of raw rows, so that a change of how rows are fetched leaves the source of
every later stage as it was. Files of the report's tables are read by `tables.store` instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.data.availability import reason_of

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet_file(file: Path) -> pa.Table:
    """A Parquet file; an empty, truncated or missing one raises an `FtbenchError` that says so. Only the file of a set
    that is not available may have no rows."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(file)
    except FileNotFoundError:
        raise FtbenchError(f"{file}: found no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        size = file.stat().st_size if file.is_file() else 0
        raise FtbenchError(
            f"{file}: found no readable Parquet file ({size} bytes: {error}). Fetch or copy it again."
        ) from None
    if table.num_rows == 0 and reason_of(table) is None:
        raise FtbenchError(f"{file}: found no rows; expected at least one. Fetch or copy it again.")
    return table
