"""The report: the same numbers in every form, a page that stands alone, equal bytes from equal tables."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from results_folder import SEEDS, Folder, small_study, value

from ftbench import matrix
from ftbench.paths import COLLECTED, FIGURES, PAGES
from ftbench.report.figures import points
from ftbench.report.leaderboard import boards
from ftbench.report.terminal import show


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
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_it_is_given(folder: Folder) -> None:
    folder.finish()
    text = folder.page("index.html")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    for tag, found in reader.tags:
        assert tag not in ("link", "iframe", "object")
        assert tag != "script" or "src" not in found
        assert tag != "img" or str(found["src"]).startswith("data:image/png;base64,")
        assert tag != "img" or found["alt"]
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "A &lt;small&gt; study &amp; more" in text
    assert "prefers-color-scheme: dark" in text
    for figure in FIGURES:
        assert folder.places.path("report", page=f"{figure}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in folder.page(f"{figure}.svg")


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


def ids_and_links(text: str) -> tuple[set[str], list[str]]:
    reader = Reader()
    reader.feed(text)
    ids = {str(found["id"]) for _, found in reader.tags if "id" in found}
    return ids, [str(found["href"]) for tag, found in reader.tags if tag == "a"]


def test_every_link_of_both_pages_leads_somewhere(folder: Folder) -> None:
    folder.finish()
    pages = {name: ids_and_links(folder.page(name)) for name in ("index.html", "cells.html")}
    report = folder.places.path("report", page="index.html").parent
    for name, (ids, links) in pages.items():
        assert links
        for link in links:
            target, _, anchor = link.partition("#")
            assert (report / target).exists() if target else True, f"{name}: {link}"
            known = pages[target][0] if target in pages else ids
            assert not anchor or anchor in known, f"{name}: {link}"
    records = [link for link in pages["cells.html"][1] if link.endswith("run.json")]
    assert len(records) == 3 * SEEDS


def test_the_page_of_cells_has_runs_and_the_examples_that_most_seeds_get_wrong(folder: Folder) -> None:
    run = matrix.Run("reviews", "tiny", "plain", "default", 0)
    file = folder.places.path("run", **run.__dict__)
    folder.write(file, {**json.loads(file.read_text()), "config_json": {"note": "<b>markup</b>"}})
    folder.finish()
    text = folder.page("cells.html")
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert "&lt;b&gt;markup&lt;/b&gt;" in text
    assert "<b>markup</b>" not in text
    section = text[text.index('id="reviews-tiny-plain-default"') :]
    section = section[: section.index("</section>")]
    assert section.count("<td class='text'>") or section.count('<td class="text">')
    assert f"of {SEEDS}</td>" in section
    assert "0123456789ab" in section


def test_comparisons_and_standings_are_on_the_page(folder: Folder) -> None:
    folder.finish()
    text = folder.page("index.html")
    for words in (
        "sign flips: ",
        "joint bootstrap: better",
        "McNemar: better",
        "critical difference",
        "interquartile mean",
    ):
        assert words in text, words
    rows = folder.rows("comparisons")
    row = next(row for row in rows if row["primary"] and row["scope"] == "baseline" and row["eval_set"] == "far")
    assert f"{100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f}" in text


def test_curves_are_drawn_from_the_logs_of_runs(folder: Folder) -> None:
    folder.finish()
    empty = folder.page("curves.svg")
    assert "no logs of training are here" in empty
    for run in matrix.runs(folder.study):
        file = folder.places.path("run_log", **run.__dict__)
        table = pa.table({"step": list(range(1, 501)), "loss": [1.0 / step for step in range(1, 501)]})
        parquet.write_table(table, file)
    folder.finish()
    drawn = folder.page("curves.svg")
    assert "training loss" in drawn
    assert len(drawn) > len(empty)


def test_the_trend_line_is_the_least_squares_line(folder: Folder) -> None:
    (board,) = boards(results := folder.finish())
    found = points(results, board)
    slope = np.polyfit([item.inside for item in found], [item.shifted for item in found], 1)[0]
    assert f"slope {slope:.2f}" in folder.page("id_ood.svg")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """<script>
window.addEventListener('load', () => {
  const table = document.querySelector('table.sortable'), column = 1;
  const texts = () => Array.from(table.tBodies[0].rows).map(row => row.cells[column].dataset.v);
  const button = table.tHead.rows[0].cells[column].querySelector('button');
  const found = {before: texts()};
  button.click(); found.up = texts(); found.state = button.parentElement.getAttribute('aria-sort');
  button.click(); found.down = texts();
  const box = document.getElementById('filter');
  box.value = 'better/a'; box.dispatchEvent(new Event('input'));
  found.shown = Array.from(table.tBodies[0].rows).filter(row => !row.hidden).map(row => row.cells[0].textContent);
  found.told = document.getElementById('shown').textContent;
  found.errors = window.caught;
  found.wide = document.documentElement.scrollWidth <= window.innerWidth + 1;
  const out = document.createElement('pre');
  out.id = 'probe'; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script></body>"""


def browse(*arguments: str) -> str:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_sorts_and_filters_without_errors_and_shows_something(folder: Folder, tmp_path: Path) -> None:
    folder.finish()
    page = tmp_path / "probe.html"
    catch = "<head><script>window.caught = []; window.onerror = text => { window.caught.push(text); };</script>"
    page.write_text(folder.page("index.html").replace("<head>", catch, 1).replace("</body>", PROBE, 1))
    text = browse("--dump-dom", page.as_uri())
    found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', text)[1]))  # type: ignore[index]
    assert found["errors"] == []
    numbers = [float(value) for value in found["up"] if value]
    assert numbers == sorted(numbers)
    # values that are not there stay last in both directions
    assert [value for value in found["down"] if value] == [value for value in reversed(found["up"]) if value]
    assert found["state"] == "ascending"
    assert set(found["shown"]) == {"better/a"}
    assert " shown" in found["told"]
    assert found["wide"]
    picture = tmp_path / "picture.png"
    browse(f"--screenshot={picture}", page.as_uri())
    pixels = matplotlib.image.imread(picture)
    assert pixels[..., :3].std() > 0.01
