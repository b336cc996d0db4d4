"""Tables, paragraph and references for a paper: numbers from the tables, marks from verdicts, gaps in footnotes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from results_folder import SEEDS, Folder, small_study, value

from ftbench import matrix
from ftbench.cited import cited_sources
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.report.citations import Source, bibliography, citations
from ftbench.report.paper import paper_latex, paper_markdown
from ftbench.report.pivot import caption, pivot

ROOT = Path(__file__).parents[1]


def test_numbers_are_means_with_the_t_interval_and_marks_follow_verdicts(folder: Folder) -> None:
    results = folder.finish()
    table = pivot(results)
    assert table.column_names == ("eval_set",)
    assert table.fixed == {"task": "reviews", "model": "tiny", "metric": "accuracy"}
    row, column = table.rows.index(("better/a",)), table.columns.index(("test",))
    runs = [matrix.Run("reviews", "tiny", "better", "a", seed).artifact for seed in range(SEEDS)]
    scores = [100 * value(folder, run, "test", "accuracy")["value"] for run in runs]
    cell = table.cells[row][column]
    interval = scipy.stats.t.interval(0.95, SEEDS - 1, np.mean(scores), scipy.stats.sem(scores))
    assert cell.text == f"{np.mean(scores):.1f}"
    assert cell.reach == f"{(interval[1] - interval[0]) / 2:.1f}"
    assert cell.verdict == "better"
    assert f"**{cell.text}** ± {cell.reach} +" in paper_markdown(results, table)
    assert rf"\textbf{{{cell.text}}} {{\scriptsize $\pm$ {cell.reach}}}$^{{+}}$" in paper_latex(results, table)
    assert "paired t-test over seeds, Holm" in caption(results, table)


def test_a_missing_cell_has_a_footnote_and_no_number(folder: Folder) -> None:
    run = matrix.Run("reviews", "tiny", "better", "a", 2)
    folder.places.path("run", **run.__dict__).unlink()
    folder.write(folder.places.failure("finetune", run.artifact), {"stage": "finetune", "reason": "no <space> left_"})
    results = folder.finish()
    table = pivot(results)
    cells = table.cells[table.rows.index(("better/a",))]
    assert {cell.footnote for cell in cells} == {0}
    assert table.footnotes == ("5 of 6 seeds; no <space> left_",)
    assert r"\textsuperscript{a} 5 of 6 seeds; no <space> left\_" in paper_latex(results, table)
    assert "5 of 6 seeds; no &lt;space> left\\_" in paper_markdown(results, table)


def test_rows_columns_and_metrics_can_be_chosen(folder: Folder) -> None:
    results = folder.finish()
    table = pivot(results, rows=("eval_set",), columns=("metric",), only={"method": "plain"})
    assert table.rows == (("farther",), ("far",), ("test",), ("old",))
    assert set(table.columns) == {(name,) for name in ("accuracy", "f1_macro", "matthews", "nll", "brier", "ece")}
    table = pivot(results, rows=("method", "eval_set"), metric="nll", only={"method": "better"})
    assert len(table.rows) == 2 * 4
    assert table.fixed["metric"] == "nll"
    assert table.columns == ((),)
    for arguments, words in (
        ({"rows": ("methods",)}, "Did you mean `method`"),
        ({"rows": ("method",), "columns": ("method",)}, "each once"),
        ({"only": {"task": "none"}}, "found nothing"),
        ({"metric": "none"}, "found nothing"),
    ):
        with pytest.raises(FtbenchError, match=words):
            pivot(results, **arguments)


def test_one_seed_has_no_interval_and_no_mark(folder: Folder) -> None:
    folder.study = small_study(seeds=[1], soups={})
    results = folder.finish()
    table = pivot(results)
    assert {cell.reach for row in table.cells for cell in row} == {""}
    assert "one seed" in caption(results, table).lower()
    assert "±" not in paper_markdown(results, table)


def test_latex_rows_have_as_many_columns_as_the_head_says(folder: Folder) -> None:
    text = paper_latex(results := folder.finish(), pivot(results, rows=("method",), columns=("eval_set", "metric")))
    width = len(re.search(r"begin\{tabular\}\{(\w+)\}", text)[1])  # type: ignore[index]
    lines = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert lines
    assert {line.count(" & ") + 1 for line in lines} == {width}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_the_stage_writes_paragraph_tables_and_references(folder: Folder) -> None:
    folder.finish()
    text = folder.page("paper.md")
    assert "6 seeds 0, 1, 2, 3, 4, 5" in text
    assert "torch 2" in text
    assert "Of 18 runs 18 ended, 0 of them failed" in text
    assert "| method |" in text
    assert folder.page("references.bib") == ""


def test_citations_become_entries_once_and_nothing_is_guessed() -> None:
    found = citations(
        [
            Source(
                kind="method", name="a", citation="Zhang et al. (2022), Dynamic parameter selection", origin="x/y @ 1"
            ),
            Source(kind="method", name="b", citation="Zhang et al. (2022), Dynamic parameter selection"),
            Source(kind="data set", name="C & D", citation="unpublished 100 % notes"),
            Source(kind="data set", name="none"),
            Source(kind="method", name="e", citation="Zhang, Li and Wu (2022), Dynamic something"),
        ]
    )
    assert [item.key for item in found] == ["zhang2022dynamic", "CD".lower(), "zhang2022dynamic2"]
    assert found[0].names == ("a", "b")
    assert "author = {Zhang and others}" in found[0].text
    assert "title = {{Dynamic parameter selection}}" in found[0].text
    assert "author = {Zhang and Li and Wu}" in found[2].text
    assert r"note = {unpublished 100 \% notes}" in found[1].text
    assert bibliography(found).count("@misc{") == 3


@pytest.mark.parametrize("study", sorted(file.stem for file in (ROOT / "config" / "studies").glob("*.yaml")))
def test_every_shipped_study_knows_what_it_uses(study: str) -> None:
    loaded = load_study(study, ROOT)
    sources = cited_sources(loaded.study, load_catalogue(ROOT))
    assert {source.kind for source in sources} >= {"method", "model", "data set"}
    names = [(source.kind, source.name) for source in sources]
    assert len(set(names)) == len(names)
    text = bibliography(citations(sources))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
