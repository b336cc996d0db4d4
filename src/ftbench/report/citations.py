"""BibTeX entries for the methods, data sets and models that a study actually uses.

Entries are made from the short citations that plug-ins and data-set entries carry, `Authors (year), title`; what they
do not say (venue, all authors) is left out and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ftbench.config.strict import Strict
from ftbench.report.latex import escape

_SHORT = re.compile(r"^(?P<authors>[^()]+?),? \((?P<year>\d{4})[a-z]?\)[,.:]? *(?P<title>.*)$")


class Source(Strict):
    """Something to cite: its kind (method, soup, data set, model), name in the study, title, citation and origin."""

    kind: str
    name: str
    title: str = ""
    citation: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Citation:
    """A BibTeX entry and the sources that it stands for."""

    key: str
    text: str
    names: tuple[str, ...]


def citations(sources: Sequence[Source]) -> list[Citation]:
    """One entry for each different citation, in the order of first use; sources without one are left out."""
    names: dict[str, list[str]] = {}
    origins: dict[str, list[str]] = {}
    for source in sources:
        if source.citation:
            names.setdefault(source.citation, []).append(source.name)
            origins.setdefault(source.citation, []).append(source.origin)
    found: list[Citation] = []
    taken: set[str] = set()
    for citation, users in names.items():
        key = _free(_key(citation, users[0]), taken)
        found.append(Citation(key, _entry(key, citation, origins[citation]), tuple(users)))
    return found


def bibliography(found: Iterable[Citation]) -> str:
    """The file `references.bib`."""
    return "\n".join(item.text for item in found)


def _free(key: str, taken: set[str]) -> str:
    chosen = next(name for name in (key, *(f"{key}{number}" for number in range(2, 1000))) if name not in taken)
    taken.add(chosen)
    return chosen


def _key(citation: str, name: str) -> str:
    parts = _SHORT.match(citation)
    if parts is None:
        return re.sub(r"\W+", "", name.lower()) or "source"
    author = re.sub(r"\W+", "", parts["authors"].split()[0].lower())
    word = next(iter(re.findall(r"[a-z]{4,}", parts["title"].lower())), "")
    return f"{author}{parts['year']}{word}"


def _entry(key: str, citation: str, origins: Sequence[str]) -> str:
    parts = _SHORT.match(citation)
    fields = {"note": citation}
    if parts is not None:
        authors = (
            parts["authors"].replace(" et al.", " and others").replace(", ", " and ").replace(" and and ", " and ")
        )
        fields = {"author": authors, "year": parts["year"], "title": "{" + (parts["title"] or citation) + "}"}
    places = "; ".join(dict.fromkeys(origin for origin in origins if origin))
    if places:
        fields["howpublished"] = places
    lines = [f"  {name} = {{{_bibtex(value)}}}," for name, value in fields.items()]
    return "\n".join([f"@misc{{{key},", *lines, "}", ""])


def _bibtex(value: str) -> str:
    """LaTeX, with the braces that keep capitals left alone."""
    if value.startswith("{") and value.endswith("}"):
        return "{" + escape(value[1:-1]) + "}"
    return escape(value)
