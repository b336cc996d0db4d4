"""Pieces of HTML that both pages of the report are made of. Every text is escaped here and nowhere trusted."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ftbench.report.grid import NO_VALUE, Entry, Grid, Title
from ftbench.report.style import SCRIPT, STYLE

FILTER = (
    '<p class="controls" hidden><label>Filter rows: <input id="filter" type="search"'
    ' placeholder="words that a row has to hold" size="32"></label> <span id="shown" role="status"></span></p>'
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
    words = [_of_words([entries[place] for _, entries in grid.rows]) for place in range(len(grid.titles))]
    heads = _head(Title(first, ""), True) + "".join(map(_head, grid.titles, words))
    rows = "".join(_row(caption, label, entries, words, (links or {}).get(label)) for label, entries in grid.rows)
    return (
        f'<div class="wide"><table class="sortable"><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>"
    )


def prose(text: str) -> str:
    """A sentence in which names stand between backticks, as HTML."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _of_words(column: Sequence[Entry]) -> bool:
    """Whether a column holds words, which stand on the left, and not numbers."""
    texts = [entry.text for entry in column if entry.text not in ("", NO_VALUE)]
    return (
        bool(column)
        and not any(re.match(r"[-+±]?\d", text) for text in texts)
        and (bool(texts) or all(entry.text == "" for entry in column))
    )


def _head(title: Title, words: bool) -> str:
    about = f"<small>{escape(title.about)}</small>" if title.about else ""
    return f'<th scope="col"{_class("text") if words else ""}>{escape(title.name)}{about}</th>'


def _row(caption: str, label: str, entries: Sequence[Entry], words: Sequence[bool], target: str | None) -> str:
    head = escape(label) if target is None else f'<a href="{escape(target)}">{escape(label)}</a>'
    found = escape(" ".join([caption, label, *(f"{entry.text} {entry.note}" for entry in entries)]))
    return f'<tr data-find="{found}"><th scope="row">{head}</th>{"".join(map(_entry, entries, words))}</tr>\n'


def _entry(entry: Entry, words: bool) -> str:
    text = f"<strong>{escape(entry.text)}</strong>" if entry.bold else escape(entry.text)
    note = f"<small>{'; '.join(map(_part, entry.note.split('; ')))}</small>" if entry.note else ""
    plain = entry.text.replace(",", "").replace("\N{EN DASH}", "").removesuffix(" %")
    return f'<td{_class("text") if words else ""} data-v="{escape(plain)}">{text}{note}</td>'


def _part(text: str) -> str:
    """A part of a note, which is not broken where it is short; a verdict has its colour."""
    word = re.search(r"(?:^|: )(better|worse)$", text)
    if word:
        return f"<span{_class(word[1])}>{escape(text)}</span>"
    return f"<span>{escape(text)}</span>" if len(text) < 30 else escape(text)


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
