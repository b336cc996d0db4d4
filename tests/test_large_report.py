"""A report of two thousand runs: made in reasonable time, of a size that opens, and everything in it."""

from __future__ import annotations

import time
from pathlib import Path

from ftbench import matrix
from ftbench.config.study import Study
from ftbench.paths import COMPARED, PAGES, StudyPaths
from ftbench.report.results import TABLES
from ftbench.stages import compare, report
from ftbench.tables.store import write_table

METHODS, SEEDS = 400, 5


def test_two_thousand_runs_make_a_page_that_a_browser_can_open(tmp_path: Path) -> None:
    study = Study.model_validate(
        {
            "seeds": list(range(SEEDS)),
            "models": ["tiny"],
            "tasks": {"t": {"train": {"dataset": "d"}, "evaluate": {"test": {"dataset": "d", "role": "id"}}}},
            "methods": {f"m{number:03}": None for number in range(METHODS)},
            "baseline": "m000",
            "statistics": {"resamples": 100},
        }
    )
    places = StudyPaths(tmp_path)
    runs, metrics = [], []
    for cell in matrix.runs(study):
        identity = {"study": "large", **cell.__dict__}
        runs.append({"run_id": cell.artifact, **identity, "status": "success", "config_json": {"key": "x" * 500}})
        value = 0.5 + int(cell.method[1:]) / 1000 + (cell.seed * 37 % 11) / 500
        metrics.append(
            {
                "artifact_id": cell.artifact, **identity, "eval_set": "test", "metric": "accuracy", "role": "id",
                "artifact_kind": "run", "value": value, "n": 100, "higher_is_better": True, "unit": "fraction",
                "label_map": "identity", "resamples": 0,
            }
        )  # fmt: skip
    tables = {name: places.path("tables", table=name) for name in (*TABLES, *COMPARED)}
    tables["runs"].parent.mkdir(parents=True)
    for name in TABLES:
        write_table(name, {"runs": runs, "metrics": metrics}.get(name, []), tables[name])
    before = time.process_time()
    resolved = study.model_dump(mode="json")
    compare.run(compare.Spec(study="large", resolved=resolved), tables, {name: tables[name] for name in COMPARED})
    pages = {page: places.path("report", page=page) for page in PAGES}
    pages["index.html"].parent.mkdir()
    report.run(report.Spec(study="large", resolved=resolved), tables, pages)
    assert time.process_time() - before < 60
    text = pages["index.html"].read_text()
    assert text.count("cells.html#t-tiny-m") == METHODS
    assert pages["cells.html"].read_text().count("<section ") == METHODS
    assert pages["index.html"].stat().st_size < 5_000_000
    assert pages["cells.html"].stat().st_size < 10_000_000
