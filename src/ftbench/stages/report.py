"""Stage `report`: the tables of a study become two pages, figures, Markdown, LaTeX and BibTeX.

Tables are enough, so a report can be made anywhere that has them; training curves and examples need the study's folder
too. Every number is computed in `ftbench.report`.
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
    """Inputs: the tables in `report.results.TABLES`; outputs: the pages in `paths.PAGES`, by file name.

    The optional input `results`, the study's folder, is where logs, predictions and texts are.
    """
    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.paths import FIGURES, StudyPaths
    from ftbench.report.attacked import attack_budgets, transfer_matrix
    from ftbench.report.calibrated import draw_reliability
    from ftbench.report.cells import cells_page
    from ftbench.report.citations import bibliography, citations
    from ftbench.report.curves import soup_paths, training_curves
    from ftbench.report.damage import damage
    from ftbench.report.detected import draw_detection
    from ftbench.report.figures import draw
    from ftbench.report.fronts import calibration, cost, forgetting
    from ftbench.report.latex import latex
    from ftbench.report.leaderboard import boards
    from ftbench.report.markdown import markdown
    from ftbench.report.methods_text import methods_text
    from ftbench.report.page import page
    from ftbench.report.paper import paper_latex, paper_markdown
    from ftbench.report.perturbed import perturbation_curves
    from ftbench.report.pivot import pivot
    from ftbench.report.results import load
    from ftbench.report.shifted import draw_trends

    study = validated(Study, spec.resolved, f"study {spec.study}")
    results = load(spec.study, study, inputs)
    found = boards(results)
    places = StudyPaths(inputs["results"]) if "results" in inputs else None

    def files(figure: str) -> list[Path]:
        return [outputs[f"{figure}.{kind}"] for kind in ("png", "svg")]

    # figures with nothing to show are files like the others, and no section of the page
    seen = {
        "id_ood": draw(results, found, files("id_ood")),
        "forgetting": forgetting(found, files("forgetting")),
        "damage": damage(results, files("damage")),
        "cost": cost(results, found, files("cost")),
        "calibration": calibration(results, found, files("calibration")),
        "curves": training_curves(results, found, places, files("curves")),
        "soups": soup_paths(results, found, files("soups")),
        "perturbations": perturbation_curves(results, found, files("perturbations")),
        "trends": draw_trends(results, files("trends")),
        "attacks": attack_budgets(results, found, files("attacks")),
        "transfer": transfer_matrix(results, files("transfer")),
        "reliability": draw_reliability(results, found, files("reliability")),
        "detection": draw_detection(results, found, files("detection")),
    }
    outputs["leaderboard.md"].write_text(markdown(results, found), encoding="utf-8")
    outputs["leaderboard.tex"].write_text(latex(results, found), encoding="utf-8")
    cited = citations(spec.sources)
    table = pivot(results)
    markdown_parts = [methods_text(results, spec.sources, cited, latex=False), paper_markdown(results, table)]
    latex_parts = [methods_text(results, spec.sources, cited, latex=True), paper_latex(results, table)]
    outputs["paper.md"].write_text("\n".join(markdown_parts), encoding="utf-8")
    outputs["paper.tex"].write_text("\n".join(latex_parts), encoding="utf-8")
    outputs["references.bib"].write_text(bibliography(cited), encoding="utf-8")
    cells = cells_page(results, found, places, outputs["cells.html"])
    outputs["cells.html"].write_text(cells, encoding="utf-8")
    outputs["index.html"].write_text(
        page(results, found, {name: outputs[f"{name}.png"] for name in FIGURES if seen[name]}), encoding="utf-8"
    )
