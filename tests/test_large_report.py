"""A report of two thousand runs: made in reasonable time, of a size that opens, and everything in it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from browser import looked, needs_browser

from ftbench import matrix
from ftbench.config.study import Study
from ftbench.paths import COMPARED, PAGES, StudyPaths
from ftbench.report.results import TABLES
from ftbench.stages import compare, report
from ftbench.tables.store import write_table

METHODS, SEEDS = 400, 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], float]:
    """The pages by name, and the seconds of processor time that comparing and reporting took."""
    root = tmp_path_factory.mktemp("large")
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
    places = StudyPaths(root)
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
    return pages, time.process_time() - before


def test_two_thousand_runs_make_a_page_in_reasonable_time_and_size(made: tuple[dict[str, Path], float]) -> None:
    pages, seconds = made
    assert seconds < 60
    text = pages["index.html"].read_text()
    assert text.count("cells.html#t-tiny-m") == METHODS
    assert pages["cells.html"].read_text().count("<section ") == METHODS
    assert 'href="#forgetting"' not in text  # a study without prior task has no empty section on it
    assert 'href="#in-domain-against-shifted"' not in text
    assert pages["forgetting.svg"].stat().st_size > 0
    assert pages["index.html"].stat().st_size < 5_000_000
    assert pages["cells.html"].stat().st_size < 10_000_000


@needs_browser
def test_a_browser_filters_two_thousand_runs_and_sorts_the_methods(made: tuple[dict[str, Path], float]) -> None:
    pages, _ = made
    found = looked(
        pages["index.html"],
        """
        const table = document.querySelector('table.sortable');
        const names = () => Array.from(table.tBodies[0].rows).filter(row => !row.hidden)
          .map(row => row.cells[0].textContent);
        const button = table.tHead.rows[0].cells[1].querySelector('button');
        button.click(); button.click();
        found.first = names().slice(0, 3);
        const box = document.getElementById('filter');
        box.value = 'm123'; box.dispatchEvent(new Event('input'));
        found.kept = names();
        """,
    )
    assert found["errors"] == []
    assert found["first"] == ["m399", "m398", "m397"]
    assert found["kept"] == ["m123"]
    found = looked(pages["cells.html"], "found.sections = document.querySelectorAll('section.filtered').length;")
    assert found == {"sections": METHODS, "errors": []}
