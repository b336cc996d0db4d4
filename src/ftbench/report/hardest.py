"""The examples that a method gets wrong most often over its seeds, from the stored predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftbench.paths import StudyPaths

SHOWN = 5
# beyond this, reading all predictions takes longer than the rest of the report; `ftbench query` can still ask
MOST_RUNS = 500
_QUERY = """
with rows as (
    select regexp_replace(artifact_id, '/s[0-9]+$', '') as cell, eval_set, uid, gold, pred, loss
    from read_parquet($files, union_by_name = true)
    where role <> 'select' and role <> 'prior' and gold is not null
), counted as (
    select cell, eval_set, uid, min(gold) as gold, round(avg(loss), 6) as loss,
           string_agg(distinct pred, ', ' order by pred) filter (where pred is distinct from gold) as pred,
           count(*) filter (where pred is distinct from gold) as wrong, count(*) as seeds
    from rows group by cell, eval_set, uid
)
select * from counted where wrong > 0
qualify row_number() over (partition by cell order by wrong desc, loss desc nulls last, eval_set, uid) <= $shown
order by cell, wrong desc, loss desc nulls last, eval_set, uid
"""


def hardest_examples(places: StudyPaths | None, runs: int) -> dict[str, list[dict[str, Any]]]:
    """Rows by cell (the id of a run without its seed), with the texts where the evaluation data is there.

    Empty without predictions, and for studies of more than 500 runs.
    """
    import duckdb

    if places is None or runs > MOST_RUNS:
        return {}
    files = sorted(map(str, (places.root / "predictions" / "runs").rglob("predictions.parquet")))
    if not files:
        return {}
    with duckdb.connect() as connection:
        rows = connection.sql(_QUERY, params={"files": files, "shown": SHOWN}).to_arrow_table().to_pylist()
    texts: dict[str, dict[tuple[str, str], str]] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        task = row["cell"].split("/")[1]
        if task not in texts:
            texts[task] = _texts(places.path("evaluation", task=task))
        found.setdefault(row["cell"], []).append({**row, "text": texts[task].get((row["eval_set"], row["uid"]), "")})
    return found


def _texts(file: Path) -> dict[tuple[str, str], str]:
    from ftbench.tables.store import read_parquet_checked

    if not file.is_file():
        return {}
    table = read_parquet_checked(file, "the evaluation rows of a task", ["eval_set", "uid", "text_a", "text_b"])
    if not {"eval_set", "uid", "text_a"} <= set(table.column_names):
        return {}
    return {
        (row["eval_set"], row["uid"]): " | ".join(text for text in (row["text_a"], row.get("text_b")) if text)
        for row in table.to_pylist()
    }
