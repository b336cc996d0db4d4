"""Stage `report`: the tables of a study become a page, a figure, Markdown and LaTeX.

Reads tables only, so a report can be made anywhere that has them. Every number is computed in
`ftbench.report`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.strict import Strict


class Spec(Strict):
    """The study that is reported; `resolved` is its canonical content."""

    study: str
    resolved: dict[str, Any]


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs: the tables in `report.results.TABLES`; outputs: the pages in `paths.PAGES`, by file name."""
    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.report.figures import draw
    from ftbench.report.forgetting import draw_forgetting
    from ftbench.report.latex import latex
    from ftbench.report.leaderboard import boards
    from ftbench.report.markdown import markdown
    from ftbench.report.page import page
    from ftbench.report.results import load

    study = validated(Study, spec.resolved, f"study {spec.study}")
    results = load(spec.study, study, inputs)
    found = boards(results)
    draw(results, found, outputs["id_ood.png"])
    draw_forgetting(results, outputs["forgetting.png"])
    outputs["leaderboard.md"].write_text(markdown(results, found), encoding="utf-8")
    outputs["leaderboard.tex"].write_text(latex(results, found), encoding="utf-8")
    outputs["index.html"].write_text(
        page(results, found, outputs["id_ood.png"], outputs["forgetting.png"]), encoding="utf-8"
    )
