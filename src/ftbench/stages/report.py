"""Stage `report`: the tables of a study become a page, a figure, Markdown and LaTeX.

Reads tables only, so a report can be made anywhere that has them. Every number is computed in
`ftbench.report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.report.citations import Source


class Spec(Strict):
    """The study that is reported; `resolved` is its canonical content."""

    study: str
    resolved: dict[str, Any]
    sources: list[Source] = Field(default_factory=list, description="methods, soups, models and data sets to cite")


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs: the tables in `report.results.TABLES`; outputs: the pages in `paths.PAGES`, by file name."""
    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.report.citations import bibliography, citations
    from ftbench.report.figures import draw
    from ftbench.report.latex import latex
    from ftbench.report.leaderboard import boards
    from ftbench.report.markdown import markdown
    from ftbench.report.methods_text import methods_text
    from ftbench.report.page import page
    from ftbench.report.paper import paper_latex, paper_markdown
    from ftbench.report.pivot import pivot
    from ftbench.report.results import load

    study = validated(Study, spec.resolved, f"study {spec.study}")
    results = load(spec.study, study, inputs)
    found = boards(results)
    draw(results, found, outputs["id_ood.png"])
    outputs["leaderboard.md"].write_text(markdown(results, found), encoding="utf-8")
    outputs["leaderboard.tex"].write_text(latex(results, found), encoding="utf-8")
    cited = citations(spec.sources)
    table = pivot(results)
    markdown_parts = [methods_text(results, spec.sources, cited, latex=False), paper_markdown(results, table)]
    latex_parts = [methods_text(results, spec.sources, cited, latex=True), paper_latex(results, table)]
    outputs["paper.md"].write_text("\n".join(markdown_parts), encoding="utf-8")
    outputs["paper.tex"].write_text("\n".join(latex_parts), encoding="utf-8")
    outputs["references.bib"].write_text(bibliography(cited), encoding="utf-8")
    outputs["index.html"].write_text(page(results, found, outputs["id_ood.png"]), encoding="utf-8")
