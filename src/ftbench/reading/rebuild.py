"""Comparisons and report of tables that were joined from several sites.

Predictions stay on the sites, so examples are not resampled; the tests over seeds need the tables alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from ftbench.paths import COMPARED, PAGES, StudyPaths


def compare_and_report(reference: str, folder: Path) -> Path:
    """Run the stages `compare` and `report` on the tables in `folder`; returns the page."""
    from ftbench.cited import cited_sources
    from ftbench.config.load import load_catalogue, load_study
    from ftbench.report.results import TABLES
    from ftbench.stages import compare, report

    loaded = load_study(reference, Path())
    resolved, places = json.loads(loaded.study.canonical()), StudyPaths(folder)
    named = ("runs", "metrics", "overlap", "similarity", "attacks", "attack_scores")
    inputs = {name: places.path("tables", table=name) for name in named}
    tables = {name: places.path("tables", table=name) for name in (*TABLES, *COMPARED)}
    compare.run(compare.Spec(study=loaded.name, resolved=resolved), inputs, {name: tables[name] for name in COMPARED})
    pages = {page: places.path("report", page=page) for page in PAGES}
    pages["index.html"].parent.mkdir(parents=True, exist_ok=True)
    sources = cited_sources(loaded.study, load_catalogue(Path()))
    report.run(report.Spec(study=loaded.name, resolved=resolved, sources=sources), tables, pages)
    return pages["index.html"]
