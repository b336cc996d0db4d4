"""Tables and report from what exists, after some jobs of a study have failed.

The workflow's tables wait for every cell. When a cell has failed, this runs the same three stages on what is
there, so that nothing that was computed stays unread; the next complete run replaces the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ftbench.paths import COLLECTED, COMPARED, PAGES
from ftbench.plan import Plan
from ftbench.stage import execute


def build_tables(study: str) -> Iterator[str]:
    """Run `collect`, `compare` and `report` now; yields lines that say what was written and what is missing."""
    from pyarrow import parquet

    plan = Plan.load(study)
    outputs = {
        "collect": plan.tables(COLLECTED),
        "compare": plan.tables(COMPARED),
        "report": {page: str(plan.paths.path("report", page=page)) for page in PAGES},
    }
    for stage, files in outputs.items():
        job = plan.job(stage)
        execute(
            stage,
            job.spec.model_dump(mode="json"),
            {name: Path(path) for name, path in job.inputs.items()},
            {name: Path(path) for name, path in files.items()},
            plan.paths.work,
            job.source,
        )
    missing = parquet.read_table(plan.paths.path("tables", table="missing")).to_pylist()
    yield f"tables from what exists: {plan.paths.root}/tables, {len(missing)} missing"
    for row in missing[:10]:
        yield f"  {row['stage']} {row['artifact_id']}: {row['reason']}"
    if len(missing) > 10:
        yield f"  ... and {len(missing) - 10} more, in missing.parquet"
