"""The page `cells.html`: for every method and variant its runs, where each came from, its settings, its hardest
examples. The leaderboard's rows lead here."""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path
from typing import Any

from ftbench.paths import StudyPaths
from ftbench.report.grid import NO_VALUE, number
from ftbench.report.hardest import MOST_RUNS, hardest_examples
from ftbench.report.html import FILTER, anchor, document, navigation
from ftbench.report.leaderboard import Board, Row
from ftbench.report.results import Record, Results


def cell_anchor(board: Board, row: Row) -> str:
    """The anchor of a method's section."""
    return anchor(f"{board.task} {board.model} {row.method} {row.variant}")


def cells_page(results: Results, boards: list[Board], places: StudyPaths | None, page: Path) -> str:
    """The HTML text; `page` is where it will lie, for links to files of the study."""
    title = f"{results.study.title or results.name}: cells"
    hardest = hardest_examples(places, len(results.runs))
    runs: dict[tuple[str, ...], list[Record]] = {}
    for run in results.runs:
        runs.setdefault(tuple(run[name] for name in ("task", "model", "method", "variant")), []).append(run)
    scores: dict[str, list[Record]] = {}
    for score in results.metrics:
        scores.setdefault(score["artifact_id"], []).append(score)
    parts = [f"<h1>{escape(title)}</h1>", navigation([("index.html", "Report")]), FILTER]
    if len(results.runs) > MOST_RUNS:
        parts.append(f"<p>Examples are left out in studies of more than {MOST_RUNS} runs; ask with ftbench query.</p>")
    for board in boards:
        for row in board.rows:
            own = runs.get((board.task, board.model, str(row.method), str(row.variant)), [])
            cell = own[0]["run_id"].rpartition("/")[0] if own else ""
            label = f"{board.task}, {board.model}, {row.label}"
            parts.append(
                f'<section class="filtered" id="{cell_anchor(board, row)}"><h2>{escape(label)}</h2>'
                + _runs(own, scores, board, places, page)
                + _settings(own)
                + _examples(hardest.get(cell, []))
                + "</section>"
            )
    return document(title, parts)


def _runs(
    own: list[Record], scores: dict[str, list[Record]], board: Board, places: StudyPaths | None, page: Path
) -> str:
    sets = [(column.eval_set, column.metric, column.unit) for column in board.columns]
    heads = "".join(
        f'<th scope="col">{escape(name)}<small>{escape(metric)}{" %" if unit == "fraction" else ""}</small></th>'
        for name, metric, unit in sets
    )
    lines = []
    for run in own:
        found = {(row["eval_set"], row["metric"]): row["value"] for row in scores.get(run["run_id"], [])}
        texts = [number(found.get((name, metric)), unit) for name, metric, unit in sets]
        seconds = NO_VALUE if run["train_seconds"] is None else f"{run['train_seconds']:.1f}"
        lines.append(
            f'<tr><th scope="row">{run["seed"]}</th><td class="text">{escape(run["status"])}'
            + (f"<small>{escape(str(run['error']))}</small>" if run["error"] else "")
            + "</td>"
            + "".join(f"<td>{text}</td>" for text in texts)
            + f'<td>{seconds}</td><td class="text">{_origin(run)}</td>'
            + f'<td class="text">{_links(run, places, page)}</td></tr>\n'
        )
    return (
        '<div class="wide"><table><caption>Runs, one a seed</caption><thead><tr><th scope="col">seed</th>'
        f'<th scope="col" class="text">status</th>{heads}<th scope="col">training, s</th>'
        '<th scope="col" class="text">code and device</th><th scope="col" class="text">files</th></tr></thead>\n'
        f"<tbody>\n{''.join(lines)}</tbody></table></div>"
    )


def _origin(run: Record) -> str:
    commit = str(run["git_commit"] or "commit not recorded")[:12]
    edited = " with edited files" if run["git_dirty"] else ""
    weights = str(run["checkpoint_sha256"] or "not recorded")[:12]
    source = str(run["code_fingerprint"] or "not recorded")[:12]
    return (
        f"{escape(commit)}{edited}<small>{escape(str(run['device'] or ''))}</small>"
        f"<small>source {escape(source)}, weights {escape(weights)}</small>"
    )


def _links(run: Record, places: StudyPaths | None, page: Path) -> str:
    """Links to the files of a run that are there, relative to the page."""
    if places is None:
        return ""
    cell = {name: run[name] for name in ("task", "model", "method", "variant", "seed")}
    files = {
        "record": places.path("run", **cell),
        "log": places.path("log", stage="finetune", cell=run["run_id"]),
        "steps": places.path("run_log", **cell),
        "predictions": places.path("predictions", artifact=run["run_id"]),
    }
    return ", ".join(
        f'<a href="{escape(Path(os.path.relpath(file, page.parent)).as_posix())}">{word}</a>'
        for word, file in files.items()
        if file.is_file()
    )


def _settings(own: list[Record]) -> str:
    """The settings of the first run; those of the others differ in the seed."""
    run = next((run for run in own if run["config_json"]), None)
    if run is None:
        return ""
    text = json.dumps(json.loads(run["config_json"]), indent=1, sort_keys=True)
    return f"<details><summary>Settings (seed {run['seed']})</summary><pre>{escape(text)}</pre></details>"


def _examples(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = "".join(
        f'<tr><th scope="row">{escape(row["eval_set"])}<small>{escape(row["uid"])}</small></th>'
        f"<td>{row['wrong']} of {row['seeds']}</td><td class='text'>{escape(str(row['gold']))}</td>"
        f"<td class='text'>{escape(str(row['pred'] or NO_VALUE))}</td>"
        f"<td class='text'>{escape(row['text'])}</td></tr>\n"
        for row in rows
    )
    return (
        '<details><summary>Hardest examples</summary><div class="wide"><table>'
        "<caption>Wrong with most seeds</caption><thead><tr>"
        '<th scope="col">set</th><th scope="col">wrong</th><th scope="col" class="text">label</th>'
        '<th scope="col" class="text">predicted</th><th scope="col" class="text">text</th></tr></thead>'
        f"<tbody>\n{lines}</tbody></table></div></details>"
    )
