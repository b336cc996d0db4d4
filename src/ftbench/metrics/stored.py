"""Stored predictions of one set as arrays, read in the labels of the set.

The stages `score` and `compare` read through this. It trusts nothing it can check: stored predictions must follow
from the logits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.errors import FtbenchError, problem
from ftbench.metrics.base import Predictions


def audited(path: Path) -> dict[str, Any]:
    """The audit of a task: for each set in `sets` its role, kind, labels and label map."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FtbenchError(
            problem(
                file=path,
                found=f"no readable audit ({error})",
                fix="Delete the file and run the study again.",
            )
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("sets"), dict):
        raise FtbenchError(problem(file=path, key="sets", found="nothing", expected="the audited sets by name"))
    return content


def stored_predictions(part: Any, head: list[str], about: Mapping[str, Any], where: str) -> Predictions:
    """Rows of the table `predictions` of one set; `head` is the order of the logits, `about` the set's audit."""
    if about["kind"] == "text":
        return _text(part, where)
    return _regression(part, where) if about["kind"] == "regression" else _classification(part, head, about, where)


def _text(part: Any, where: str) -> Predictions:
    """Rows of plain text: what was counted of each must agree with the share of right words stored beside it."""
    import numpy as np

    words = stored_logits(part, 3, where)
    shares = np.where(words[:, 1] > 0, words[:, 2] / np.maximum(words[:, 1], 1), 1.0)
    differing = int((np.abs(shares - part.column("pred_value").to_numpy()) > 1e-5).sum())
    if differing:
        raise FtbenchError(
            problem(
                file=where,
                key="pred_value",
                found=f"{differing} of {len(words)} shares of right words that do not follow from the counts",
                expected="right words divided by supervised ones",
                fix="Run `predict` again.",
            )
        )
    none, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    return Predictions("text", (), whole, whole, np.zeros((0, 0)), none, none, words)


def distinct_rows(part: Any, duplicates: Any, eval_set: str) -> Any:
    """Numbers of the rows of a set that are not in the table `duplicates`, or null where that is null."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    if duplicates is None:
        return None
    listed = duplicates.filter(compute.equal(duplicates.column("eval_set"), eval_set)).column("uid")
    repeated = compute.is_in(part.column("uid"), value_set=pa.array(listed.to_pylist(), pa.string()))
    return np.flatnonzero(~repeated.to_numpy(zero_copy_only=False))


def _classification(part: Any, head: list[str], about: Mapping[str, Any], where: str) -> Predictions:
    import numpy as np

    from ftbench.data.labels import map_logits

    labels = list(about["labels"])
    gold = label_places(part.column("gold"), labels)
    if (gold < 0).any():
        strange = sorted({str(name) for name in part.column("gold").unique().to_pylist() if name not in labels})
        raise FtbenchError(
            problem(file=where, key="gold", found=str(strange), expected=f"labels out of {labels} on every row")
        )
    pred, probabilities = map_logits(stored_logits(part, len(head), where), head, labels, about.get("map"), where)
    differing = int((pred != label_places(part.column("pred"), labels)).sum())
    if differing:
        raise FtbenchError(
            problem(
                file=where,
                key="pred",
                found=f"{differing} of {len(pred)} predictions that do not follow from the logits",
                expected=f"logits in the order {head}, read in the labels {labels}",
                fix="The label order or the map changed after prediction; run `predict` again.",
            )
        )
    none = np.zeros(0)
    return Predictions("classification", tuple(labels), gold, pred, probabilities, none, none)


def label_places(column: Any, labels: list[str]) -> Any:
    """Index into `labels` of each name; -1 for null, -2 for a name that is none of them."""
    import pyarrow as pa
    from pyarrow import compute

    found = compute.index_in(column, value_set=pa.array(labels, pa.string()))
    return compute.if_else(compute.is_null(column), -1, compute.fill_null(found, -2)).to_numpy().astype("int64")


def stored_logits(part: Any, width: int, where: str) -> Any:
    """The logits as doubles: (rows, width). Raises `FtbenchError`, which names `where`, for rows of another width."""
    from pyarrow import compute

    column = part.column("logits")
    found = sorted(compute.unique(compute.list_value_length(column)).to_pylist())
    if found != [width]:
        raise FtbenchError(
            problem(
                file=where,
                key="logits",
                found=f"{found} numbers a row",
                expected=f"{width}, one for each label (of plain text: loss, words, right ones)",
            )
        )
    return compute.list_flatten(column).to_numpy().astype("float64").reshape(-1, width)


def _regression(part: Any, where: str) -> Predictions:
    import numpy as np

    for column in ("gold_value", "pred_value"):
        if part.column(column).null_count:
            raise FtbenchError(problem(file=where, key=column, found="nulls", expected="a number on every row"))
    whole = np.zeros(0, dtype=np.int64)
    gold, predicted = (part.column(name).to_numpy() for name in ("gold_value", "pred_value"))
    return Predictions("regression", (), whole, whole, np.zeros((0, 0)), gold, predicted)
