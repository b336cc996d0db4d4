"""Pieces of HTML that both pages of the report are made of. Every text is escaped here and nowhere trusted."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ftbench.report.grid import Entry, Grid, Title
from ftbench.report.style import SCRIPT, STYLE

FILTER = (
    '<p class="controls" hidden><label>Filter rows: <input id="filter" type="search"'
    ' placeholder="words that a row has to hold"></label> <span id="shown" role="status"></span></p>'
)


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page that needs no other file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the content</a>\n<main id="content">\n'
        + "\n".join(part for part in parts if part)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def anchor(text: str) -> str:
    """A name for links within and between the pages."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def navigation(sections: Sequence[tuple[str, str]]) -> str:
    """Links to anchors, or to other pages where the target has a dot."""
    items = "".join(
        f'<li><a href="{escape(target if "." in target else "#" + target)}">{escape(text)}</a></li>'
        for target, text in sections
    )
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>'


def heading(text: str) -> str:
    return f'<h2 id="{anchor(text)}">{escape(text)}</h2>'


def table(caption: str, first: str, grid: Grid, links: dict[str, str] | None = None) -> str:
    """A table that sorts and filters; `links` are targets for the labels of rows."""
    heads = "".join(map(_head, (Title(first, ""), *grid.titles)))
    rows = "".join(_row(caption, label, entries, (links or {}).get(label)) for label, entries in grid.rows)
    return (
        f'<div class="wide"><table class="sortable"><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>"
    )


def _head(title: Title) -> str:
    about = f"<small>{escape(title.about)}</small>" if title.about else ""
    return f'<th scope="col">{escape(title.name)}{about}</th>'


def _row(caption: str, label: str, entries: Sequence[Entry], target: str | None) -> str:
    head = escape(label) if target is None else f'<a href="{escape(target)}">{escape(label)}</a>'
    words = escape(" ".join([caption, label, *(f"{entry.text} {entry.note}" for entry in entries)]))
    return f'<tr data-find="{words}"><th scope="row">{head}</th>{"".join(map(_entry, entries))}</tr>\n'


def _entry(entry: Entry) -> str:
    text = f"<strong>{escape(entry.text)}</strong>" if entry.bold else escape(entry.text)
    word = re.search(r"\b(better|worse)\b", entry.note)
    note = f"<small{_class(word[1]) if word else ''}>{escape(entry.note)}</small>" if entry.note else ""
    plain = entry.text.replace(",", "").replace("\N{EN DASH}", "").removesuffix(" %")
    return f'<td data-v="{escape(plain)}">{text}{note}</td>'


def _class(word: str) -> str:
    return f' class="{word}"'


def figure(name: str, file: Path, alt: str, caption: str) -> str:
    """A PNG within the page, with links to the files of that name beside it."""
    data = base64.b64encode(file.read_bytes()).decode()
    links = ", ".join(f'<a href="{name}.{kind}">{kind.upper()}</a>' for kind in ("png", "svg"))
    return (
        f'<figure><img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)} {links}</figcaption></figure>"
    )
