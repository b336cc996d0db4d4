"""The report as a reader has it: in a browser, by mouse and by keyboard, in light, in dark, small and on paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import browse, looked, needs_browser, pictured
from results_folder import Folder, small_study

pytestmark = needs_browser

SORT_AND_FILTER = """
  const table = document.querySelector('table.sortable'), column = 1;
  const texts = () => Array.from(table.tBodies[0].rows).map(row => row.cells[column].dataset.v);
  const button = table.tHead.rows[0].cells[column].querySelector('button');
  found.before = texts();
  button.click(); found.up = texts(); found.state = button.parentElement.getAttribute('aria-sort');
  button.click(); found.down = texts();
  button.focus(); found.focused = document.activeElement === button && button.tabIndex === 0;
  const box = document.getElementById('filter');
  box.value = 'better/a'; box.dispatchEvent(new Event('input'));
  found.shown = Array.from(table.tBodies[0].rows).filter(row => !row.hidden).map(row => row.cells[0].textContent);
  found.told = document.getElementById('shown').textContent;
"""
SHAPE = """
  found.wide = document.documentElement.scrollWidth <= window.innerWidth + 1;
  found.dead = Array.from(document.querySelectorAll('a[href^="#"]')).map(link => link.getAttribute('href').slice(1))
    .filter(id => document.getElementById(id) === null);
  found.nameless = Array.from(document.querySelectorAll('table')).filter(table => !table.caption).length
    + Array.from(document.querySelectorAll('img')).filter(image => !image.alt || !image.naturalWidth).length
    + Array.from(document.querySelectorAll('input')).filter(input => !input.labels.length).length;
  found.levels = Array.from(document.querySelectorAll('h1, h2, h3')).map(head => Number(head.tagName[1]));
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of 18 runs."""
    folder = Folder(tmp_path_factory.mktemp("browser"), small_study())
    folder.fill()
    folder.finish()
    return folder.places.path("report", page="index.html").parent


def test_heads_sort_and_the_field_filters_and_nothing_is_an_error(pages: Path) -> None:
    found = looked(pages / "index.html", SORT_AND_FILTER)
    assert found["errors"] == []
    numbers = [float(value) for value in found["up"] if value]
    assert len(numbers) > 1
    assert numbers == sorted(numbers)
    # values that are not there stay last in both directions
    assert [value for value in found["down"] if value] == [value for value in reversed(found["up"]) if value]
    assert found["state"] == "ascending"
    assert found["focused"]
    assert set(found["shown"]) == {"better/a"}
    assert " shown" in found["told"]


@pytest.mark.parametrize("width", [1200, 500])
@pytest.mark.parametrize("name", ["index.html", "cells.html"])
def test_a_page_has_names_for_everything_and_no_dead_link_and_fits(pages: Path, name: str, width: int) -> None:
    found = looked(pages / name, SHAPE, width)
    assert found["errors"] == []
    assert found["dead"] == []
    assert found["nameless"] == 0
    assert found["levels"][0] == 1
    assert all(below - above <= 1 for above, below in zip(found["levels"], found["levels"][1:], strict=False))
    assert found["wide"]


def test_the_page_is_light_or_dark_as_the_reader_wants_it_and_prints(pages: Path, tmp_path: Path) -> None:
    light = pictured(pages / "index.html", tmp_path / "light.png")
    dark = pictured(pages / "index.html", tmp_path / "dark.png", "--blink-settings=preferredColorScheme=0")
    for picture in (light, dark):
        assert picture.std() > 0.01
    assert light[-1, 0].mean() > 0.9  # the margin
    assert dark[-1, 0].mean() < 0.3
    paper = tmp_path / "paper.pdf"
    browse(f"--print-to-pdf={paper}", (pages / "index.html").as_uri())
    assert paper.read_bytes().startswith(b"%PDF")
    assert paper.stat().st_size > 20_000
