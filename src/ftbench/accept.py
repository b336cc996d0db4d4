"""Declaring that a change of the source alters no result: what `ftbench accept` does.

For every fingerprint that past jobs of a study were made with and that has changed since, it notes that the new one
stands for the old one. Nothing is touched but that note; taking the entry out of the file undoes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from ftbench import made
from ftbench.acceptance import FILE, entries
from ftbench.config.errors import FtbenchError
from ftbench.plan import Plan
from ftbench.provenance import now
from ftbench.why import changes


def accept(plan: Plan, why: str) -> Iterator[str]:
    """Accept all changes of source since the cells of a study were made; gives lines about what that means."""
    if len(why.split()) < 2:
        raise FtbenchError(f"found the reason `{why}`; expected a sentence that will still say something in a year")
    found: dict[str, str] = {}
    doubtful: dict[str, set[str]] = {}
    touched: list[str] = []
    told: dict[str, None] = {}
    for job in plan.jobs():
        last = made.read(plan.paths.work, job.stage, job.cell)
        if last is None or last.source == job.source:
            continue
        new = job.source
        doubtful.setdefault(new, set()).add(last.source)
        found[new] = last.source
        touched.append(f"{job.stage} {job.cell}")
        told |= dict.fromkeys(line for line in changes(plan, job) if line.startswith("source"))
    if not found:
        raise FtbenchError("no finished cell of this study was made with another source; there is nothing to accept")
    mixed = [new for new, old in doubtful.items() if len(old) > 1]
    if mixed:
        raise FtbenchError(
            f"the cells of one stage were made with {len(doubtful[mixed[0]])} different sources, which one new source "
            "cannot stand for. Run the study first, or go back to the source of the last complete run."
        )
    entry = {"at": now(), "why": " ".join(why.split()), "sources": found, "changes": list(told)}
    partial = FILE.with_name(f".{FILE.name}.partial")
    partial.write_text(json.dumps([*entries(), entry], indent=1) + "\n")
    os.replace(partial, FILE)
    yield from told
    yield f"{len(touched)} finished cells stay as they are; written: {FILE} (keep it under version control)"
