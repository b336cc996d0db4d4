"""What of the evaluation sets of a task stands in its training rows too: equal texts, near ones, shared first texts.

The stage `audit` writes what is found here: counts for each set, and the rows themselves, so that scores can be taken
without them. Texts are compared in their normal form; nothing is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftbench.data import near_duplicates
from ftbench.data.near_duplicates import Texts, normal_texts
from ftbench.data.prior import hashes

Record = dict[str, Any]


@dataclass(frozen=True)
class EvaluationRows:
    """The rows of one set as a table, and what the audit says of it: `role`, `kind` and label `map`."""

    name: str
    rows: Any
    about: Mapping[str, Any]


def overlap(
    task: str, train: Any, sets: Sequence[EvaluationRows], pool: set[str] | None, tell: Callable[[str], None]
) -> tuple[list[Record], list[Record]]:
    """Rows of the tables `overlap` and `duplicates`. `pool` has the hashes of the texts that a run may rehearse, null
    without a prior task; `tell` is told of progress with large training sets."""
    trained = _texts(train)
    texts = {item.name: _texts(item.rows) for item in sets}
    first: dict[Texts, int] = {}
    for number, value in enumerate(trained):
        first.setdefault(value, number)
    begun = {value[0] for value in trained if len(value) > 1}
    uids = train.column("uid").to_pylist()
    labels = _labels(trained, train)
    # equal rows need no search; the training rows pass once by what is left of all sets
    left = [(item.name, row) for item in sets for row, value in enumerate(texts[item.name]) if value not in first]
    near = near_duplicates.near_duplicates(trained, [texts[name][row] for name, row in left], tell)
    found: dict[str, dict[int, tuple[str, int, float]]] = {item.name: {} for item in sets}
    for item in sets:
        equal = {row: ("exact", first[value], 1.0) for row, value in enumerate(texts[item.name]) if value in first}
        found[item.name].update(equal)
    for one in near:
        name, row = left[one.row]
        found[name][row] = ("near", one.train_row, one.similarity)
    counted, listed = [], []
    for item in sets:
        own = found[item.name]
        counts = _counts(task, train.num_rows, item, texts[item.name], own, labels, begun)
        rehearsed = None if pool is None else sum(value in pool for value in hashes(item.rows))
        counted.append({**counts, "pool_rows": rehearsed})
        their = item.rows.column("uid").to_pylist()
        listed += [
            {
                "task": task, "eval_set": item.name, "uid": their[row], "kind": kind, "train_uid": uids[train_row],
                "similarity": similarity,
            }
            for row, (kind, train_row, similarity) in sorted(own.items())
        ]  # fmt: skip
    return counted, listed


def _texts(table: Any) -> list[Texts]:
    return normal_texts(table.column("text_a").to_pylist(), table.column("text_b").to_pylist())


def _labels(texts: Sequence[Texts], table: Any) -> dict[Texts, set[str | None]]:
    labels: dict[Texts, set[str | None]] = {}
    for value, label in zip(texts, table.column("label").to_pylist(), strict=True):
        labels.setdefault(value, set()).add(label)
    return labels


def _counts(
    task: str,
    train_rows: int,
    item: EvaluationRows,
    texts: Sequence[Texts],
    found: Mapping[int, tuple[str, int, float]],
    labels: Mapping[Texts, set[str | None]],
    begun: set[str],
) -> Record:
    """One row of `overlap`. A training label is read in the set's labels; scores, and labels of a prior task, are not
    compared."""
    to = item.about["map"]["to"] if item.about["map"] else {}
    own = item.rows.column("label").to_pylist()
    exact = [row for row, (kind, _, _) in found.items() if kind == "exact"]
    differing = [row for row in exact if own[row] not in {to.get(label, label) for label in labels[texts[row]]}]
    comparable = item.about["kind"] == "classification" and item.about["role"] != "prior"
    comparable &= item.about.get("labelled", True)
    pairs = [value for value in texts if len(value) > 1]
    return {
        "task": task,
        "eval_set": item.name,
        "role": item.about["role"],
        "train_rows": train_rows,
        "eval_rows": len(texts),
        "exact_rows": len(exact),
        "exact_share": len(exact) / len(texts),
        "conflict_rows": len(differing) if comparable else None,
        "near_rows": len(found),
        "near_share": len(found) / len(texts),
        "near_rule": near_duplicates.RULE,
        "first_text_rows": sum(value[0] in begun for value in pairs) if pairs else None,
    }
