"""The report: the same numbers in every form, a page that stands alone, equal bytes from equal tables."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from results_folder import SEEDS, Folder, small_study, value

from ftbench import matrix
from ftbench.paths import COLLECTED, PAGES
from ftbench.report.leaderboard import boards
from ftbench.report.terminal import show


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("complete"), small_study())
    folder.fill()
    return folder


@pytest.fixture
def folder(filled: Folder, tmp_path: Path) -> Folder:
    """A copy of the complete folder, to make gaps in."""
    shutil.copytree(filled.root / "results", tmp_path / "results")
    return Folder(tmp_path, filled.study)


def test_a_complete_study_misses_nothing_and_every_page_says_the_same(folder: Folder) -> None:
    results = folder.finish()
    samples = [row for row in results.missing if row["stage"] == "pretrain_samples"]
    assert results.missing == samples  # the only thing that this folder never had
    (board,) = boards(results)
    assert [column.role for column in board.columns] == ["id", "ood", "ood", "prior"]
    assert [row.label for row in board.rows] == ["plain", "better/a", "better/b"]
    best = board.rows[1].cells[0]
    assert (best.n, best.verdict) == (SEEDS, "better")
    text = f"{100 * (best.mean or 0):.1f}"
    assert f"<strong>{text}</strong>" in folder.page("index.html")
    assert f"**{text}**" in folder.page("leaderboard.md")
    assert rf"\textbf{{{text}}}" in folder.page("leaderboard.tex")


def test_means_changes_and_shifted_means_are_those_of_the_tables(folder: Folder) -> None:
    (board,) = boards(folder.finish())
    row = board.rows[0]
    runs = [matrix.Run("reviews", "tiny", "plain", "default", seed).artifact for seed in range(SEEDS)]
    for column, cell in zip(board.columns, row.cells, strict=True):
        scores = [value(folder, run, column.eval_set, "accuracy")["value"] for run in runs]
        assert (cell.mean, cell.low, cell.high) == pytest.approx((np.mean(scores), min(scores), max(scores)))
    assert row.shifted == pytest.approx(np.mean([row.cells[1].mean, row.cells[2].mean]))
    before = value(folder, matrix.Base("reviews", "tiny").artifact, "old", "accuracy")["value"]
    assert board.base is not None
    assert board.base.cells[3].mean == before
    assert row.cells[3].change == pytest.approx(row.cells[3].mean - before)
    assert "against before" in folder.page("index.html")


class Reader(HTMLParser):
    """Notes tags and checks that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_it_is_given(folder: Folder) -> None:
    folder.finish()
    text = folder.page("index.html")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    names = [tag for tag, _ in reader.tags]
    assert "script" not in names
    assert "link" not in names
    assert all(str(found["src"]).startswith("data:image/png;base64,") for tag, found in reader.tags if tag == "img")
    assert "http" not in text
    assert "A &lt;small&gt; study &amp; more" in text
    assert "prefers-color-scheme: dark" in text
    assert folder.places.path("report", page="id_ood.png").read_bytes().startswith(b"\x89PNG")


def test_the_latex_escapes_names_and_balances_its_environments(folder: Folder) -> None:
    folder.finish()
    text = folder.page("leaderboard.tex")
    assert text.count(r"\begin{") == text.count(r"\end{")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert "accuracy \\%" in body
    for line in body.splitlines():
        if line.endswith(r"\\"):
            assert line.count(" & ") in (5, 7)


def test_the_same_tables_give_the_same_bytes(folder: Folder) -> None:
    folder.finish()
    before = {page: folder.places.path("report", page=page).read_bytes() for page in PAGES}
    tables = {name: folder.table(name).read_bytes() for name in (*COLLECTED, "comparisons")}
    folder.finish()
    assert {page: folder.places.path("report", page=page).read_bytes() for page in PAGES} == before
    assert {name: folder.table(name).read_bytes() for name in tables} == tables


def test_the_order_of_methods_and_variants_in_the_file_changes_no_verdict(folder: Folder) -> None:
    folder.study = small_study(baseline="better")
    folder.finish()
    before = folder.rows("comparisons")
    compared = [row for row in before if row["scope"] == "baseline"]
    assert {(row["baseline"], row["baseline_variant"]) for row in compared} == {("better", "a")}
    folder.study = small_study(baseline="better", methods={"better": {"variants": {"b": {}, "a": {}}}, "plain": None})
    results = folder.finish()
    assert folder.rows("comparisons") == before
    assert boards(results)[0].rows[0].label == "better/a"
    assert "compare with better/a" in folder.page("leaderboard.md")


def test_the_terminal_shows_the_leaderboard(folder: Folder) -> None:
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    show(folder.finish(), Console(file=out, width=200, no_color=True))
    assert "better/a" in out.getvalue()
    assert "uniform of plain" in out.getvalue()
