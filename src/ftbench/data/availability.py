"""Data sets that cannot be had here: behind a form or a gate, or only in files of one's own.

The stage `fetch` leaves a file without rows that says why, and every later stage reads the reason from it. An
evaluation set without rows is left out of a study and named in its tables; nothing can be trained on one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.data.patience import WORDS, words

if TYPE_CHECKING:
    import pyarrow as pa

KEY = b"not_available"
PREFIX = "not available: "
_ASKING = {
    "form": "its owners ask for a form first",
    "gated": "the hub asks for consent first",
    "local": "it is on no hub, and only files of your own have it",
}


def refusal(error: BaseException, access: str) -> str | None:
    """Why a set with this access is not there, if the hub has refused it for want of access; else null."""
    said = words(error)
    if access == "open" or said not in (WORDS[401], WORDS[403]):
        return None
    return f"{_ASKING[access]}, and the hub gives it to no one else. {said}"


def absence(dataset: str, access: str) -> str:
    """Why a set is not there that has neither files under `data_root` nor a place on the hub."""
    return f"{_ASKING[access]}, and no file {dataset}/<split>.parquet is under `data_root`"


def without_rows(reason: str, **columns: pa.DataType) -> pa.Table:
    """A table without rows that says why."""
    import pyarrow as pa

    return pa.schema(list(columns.items()), metadata={KEY: reason.encode()}).empty_table()


def reason_of(table: pa.Table) -> str | None:
    """Why a table has no rows, if its set is not available."""
    found = (table.schema.metadata or {}).get(KEY)
    return None if found is None else found.decode()
