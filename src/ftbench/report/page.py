"""The page `index.html`: one file without scripts or outside references, readable in light and dark.

Called by the stage `report`. It lays out what the other modules of the report computed; every text that comes
from a study or a log is escaped.
"""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from ftbench.report.cost import cost_grid, costs
from ftbench.report.coverage import Coverage, coverage
from ftbench.report.forgetting import forgetting_grid
from ftbench.report.grid import Entry, Grid, methods_grid, soups_grid
from ftbench.report.leaderboard import Board
from ftbench.report.notes import reading_notes
from ftbench.report.results import Results

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #fff; --soft: #666;
  --line: #ddd; --tint: #f5f5f3; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --soft: #a0a0a0; --line: #3a3a3a; --tint: #202020; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; }
th:first-child, td.text { text-align: left; } thead th { background: var(--tint); }
small { display: block; color: var(--soft); font-weight: normal; font-size: .78rem; }
figure { margin: 1rem 0; } figure img { background: #fff; max-width: 100%; height: auto; }
code { background: var(--tint); padding: 0 .2rem; }
"""


def page(results: Results, boards: list[Board], figure: Path, forgetting: Path) -> str:
    """The HTML text; `figure` and `forgetting` are the PNGs that are embedded."""
    title = results.study.title or results.name
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(results.study.description)}</p>" if results.study.description else "",
        _coverage(coverage(results)),
        "<h2>Leaderboard</h2>",
        *(_table(_place(board), "method", methods_grid(board)) for board in boards),
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in reading_notes(results)) + "</ul>",
        *_soups(boards),
        "<h2>In-domain against shifted</h2>",
        _figure(
            figure,
            "Scatter plot: one point a run, in-domain score across, mean score of the shifted sets up",
            "One point a run, a star a soup; on the grey line both scores are equal. Runs without all scores are left"
            " out.",
        ),
        *_forgetting(results, boards, forgetting),
        "<h2>Cost</h2>",
        *(_table(_place(board), "method", cost_grid(costs(results, board.task, board.model))) for board in boards),
        _provenance(results),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _place(board: Board) -> str:
    return f"{board.task}, {board.model}"


def _coverage(found: Coverage) -> str:
    text = f"<h2>Coverage</h2>\n<p>{escape(found.sentence())}"
    if found.complete:
        return text + " Nothing is missing.</p>"
    rows = "".join(
        f'<tr><td class="text">{escape(gap.stage)}</td><td class="text">{escape(gap.reason)}'
        + "".join(f"<small>{escape(log)}</small>" for log in gap.logs[:1])
        + f'</td><td>{len(gap.artifacts)}</td><td class="text">{escape(gap.named)}</td></tr>\n'
        for gap in found.gaps
    )
    return (
        f'{text}</p>\n<div class="wide"><table><caption>What is missing, and why</caption>\n<thead><tr>'
        '<th scope="col">stage</th><th scope="col">reason</th><th scope="col">cells</th>'
        f'<th scope="col">which</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>'
    )


def _table(caption: str, first: str, grid: Grid) -> str:
    titles = "".join(
        f'<th scope="col">{escape(title.name)}<small>{escape(title.about)}</small></th>' for title in grid.titles
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(label)}</th>{"".join(map(_entry, entries))}</tr>\n'
        for label, entries in grid.rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>\n'
        f'<thead><tr><th scope="col">{escape(first)}</th>{titles}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>"
    )


def _entry(entry: Entry) -> str:
    text = f"<strong>{escape(entry.text)}</strong>" if entry.bold else escape(entry.text)
    return f"<td>{text}<small>{escape(entry.note)}</small></td>" if entry.note else f"<td>{text}</td>"


def _soups(boards: list[Board]) -> list[str]:
    tables = [_table(_place(board), "soup", soups_grid(board)) for board in boards if board.soups]
    return ["<h2>Soups</h2>", *tables] if tables else []


def _figure(file: Path, text: str, caption: str) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(text)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _forgetting(results: Results, boards: list[Board], figure: Path) -> list[str]:
    """New task against prior task; nothing for a study without a prior task."""
    if not results.pareto:
        return []
    tables = [_table(_place(board), "method", forgetting_grid(results, board.task, board.model)) for board in boards]
    shown = _figure(
        figure,
        "Left: new-task score across, prior-task score up, one point a method. Right: damage by bin over the steps",
        "Bold rows and the grey line are the front: no other method is better at one task and no worse at the other."
        " The dotted line is the prior score before fine-tuning.",
    )
    return ["<h2>Forgetting</h2>", *tables, shown]


def _provenance(results: Results) -> str:
    """What code and devices the runs came from; more than one commit in a table is worth knowing."""
    done = [row for row in results.runs if row["status"] != "missing"]
    commits = sorted({str(row["git_commit"])[:12] for row in done if row["git_commit"]})
    edited = sum(bool(row["git_dirty"]) for row in done)
    devices = sorted({str(row["device"]) for row in done if row["device"]})
    return (
        f"<h2>Origin</h2>\n<p>Study <code>{escape(results.name)}</code>."
        f" Commits: {escape(', '.join(commits) or 'not recorded')}; {edited} of {len(done)} runs from edited"
        f" files. Devices: {escape(', '.join(devices) or 'not recorded')}.</p>"
    )
