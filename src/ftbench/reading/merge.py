"""Join the tables of several sites that ran parts of one study: `ftbench merge`.

Rows are joined only if the sites agree: equal keys mean equal rows, a set has the same examples and label map
everywhere, a task the same training rows, a method the same code. Everything that does not match is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftbench.config.errors import FtbenchError
from ftbench.paths import COLLECTED, StudyPaths

Rows = list[dict[str, Any]]
# columns that say when and where, which may differ for one and the same result
_INCIDENTAL = {"study", "started_at", "ended_at", "wall_seconds", "log"}


def merge(sites: Mapping[str, Path], out: Path, name: str) -> dict[str, int]:
    """Write the joined tables below `out`; the number of rows of each. `sites` maps names to folders of results."""
    from ftbench.tables.store import write_table

    tables = {site: _tables(site, folder) for site, folder in sites.items()}
    wrong = [*_disagreements(tables)]
    joined: dict[str, Rows] = {}
    for table in COLLECTED:
        if table != "missing":
            joined[table], conflicts = _joined(table, tables)
            wrong += conflicts
    if wrong:
        raise FtbenchError("the results do not match:\n" + "\n".join(wrong))
    joined["missing"] = _still_missing(tables, joined)
    for table, rows in joined.items():
        file = StudyPaths(out).path("tables", table=table)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_table(table, [{**row, "study": name} if "study" in row else row for row in rows], file)
    return {table: len(rows) for table, rows in joined.items()}


def _tables(site: str, folder: Path) -> dict[str, Rows]:
    from ftbench.tables.store import read_table

    found = {}
    for table in COLLECTED:
        file = StudyPaths(folder).path("tables", table=table)
        found[table] = read_table(table, file).to_pylist() if file.is_file() else []
    if not found["metrics"]:
        raise FtbenchError(f"{site}: found no scores in {folder}/tables; expected the results of a study")
    return found


def _joined(table: str, tables: Mapping[str, Mapping[str, Rows]]) -> tuple[Rows, list[str]]:
    """Rows by key: a result goes before a missing one; two different results for one key are a conflict."""
    from ftbench.tables.schema import table as table_named

    key = table_named(table).key
    found: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    conflicts = []
    for site, content in tables.items():
        for row in content[table]:
            place = tuple(row[column] for column in key)
            other = found.get(place)
            if other is None or other[1].get("status") == "missing":
                found[place] = (site, row)
            elif row.get("status") != "missing":
                differing = [name for name in row if name not in _INCIDENTAL and row[name] != other[1][name]]
                if differing:
                    where = ", ".join(f"{name} {value!r}" for name, value in zip(key, place, strict=True))
                    conflicts.append(
                        f"{table}: {where}: {', '.join(differing[:4])} differ between {other[0]} and {site}"
                    )
    return [row for _, row in found.values()], conflicts[:20]


def _disagreements(tables: Mapping[str, Mapping[str, Rows]]) -> list[str]:
    """What has to be one thing on all sites and is not."""
    rules: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...], Callable[[dict[str, Any]], bool]], ...] = (
        ("metrics", "evaluation rows or label map", ("task", "eval_set"), ("n", "label_map"), lambda _: True),
        ("metrics", "role of the set", ("task", "eval_set"), ("role",), lambda _: True),
        ("runs", "training rows", ("task",), ("train_rows",), lambda row: row["train_rows"] is not None),
        ("runs", "code", ("method", "variant"), ("code_fingerprint",), lambda row: row["code_fingerprint"] is not None),
        ("overlap", "data", ("task", "eval_set"), ("train_rows", "eval_rows", "exact_rows"), lambda _: True),
    )
    found = []
    for table, what, places, columns, wanted in rules:
        values: dict[tuple[Any, ...], dict[tuple[Any, ...], str]] = {}
        for site, content in tables.items():
            for row in filter(wanted, content[table]):
                place = tuple(row[name] for name in places)
                values.setdefault(place, {}).setdefault(tuple(row[name] for name in columns), site)
        for place, different in values.items():
            if len(set(different.values())) > 1:
                told = "; ".join(f"{site} has {_told(columns, value)}" for value, site in different.items())
                found.append(f"{what} of {' / '.join(map(str, place))}: {told}")
    return found


def _told(columns: Sequence[str], value: Sequence[Any]) -> str:
    return ", ".join(f"{name} {str(one)[:16]}" for name, one in zip(columns, value, strict=True))


def _still_missing(tables: Mapping[str, Mapping[str, Rows]], joined: Mapping[str, Rows]) -> Rows:
    """What no site has: a gap of one site that another fills is none."""
    scored = {row["artifact_id"] for row in joined["metrics"]}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for content in tables.values():
        for row in content["missing"]:
            if row["artifact_id"] not in scored:
                found.setdefault((row["artifact_id"], row["stage"]), row)
    return list(found.values())
