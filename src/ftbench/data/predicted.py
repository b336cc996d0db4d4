"""Raw outputs on an evaluation set as rows of the table `predictions`.

The stages `predict` and `ensemble` call it: outputs of a model and means of outputs are read in a set's labels by
the same rules. What a language model says of plain text becomes such rows too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """The rows of one evaluation set: ids, true labels (in the set's names) or scores."""

    eval_set: str
    role: str
    uid: Sequence[str]
    gold: Sequence[str | None]
    gold_value: np.ndarray | None

    def __len__(self) -> int:
        return len(self.uid)


def predicted(
    artifact: str, rows: Rows, found: np.ndarray, kind: str, labels: Sequence[str], described: Mapping[str, Any]
) -> pa.Table:
    """A table like `predictions`. `found`: (rows, labels) in the order of `labels`; `described`: the set's labels and
    its map from the model's, as the audit wrote them."""
    import numpy as np
    import pyarrow as pa

    from ftbench.data.labels import map_logits, softmax

    count = len(rows)
    columns: dict[str, Any] = {
        "artifact_id": pa.array([artifact] * count),
        "eval_set": pa.array([rows.eval_set] * count),
        "role": pa.array([rows.role] * count),
        "uid": pa.array(list(rows.uid)),
        "logits": pa.FixedSizeListArray.from_arrays(
            pa.array(found.astype(np.float32).reshape(-1)), found.shape[1]
        ).cast(pa.list_(pa.float32())),
    }
    if kind == "regression":
        columns["pred_value"] = pa.array(found[:, 0].astype(np.float64))
        if described.get("labelled", True):
            assert rows.gold_value is not None
            columns["gold_value"] = pa.array(rows.gold_value)
            columns["loss"] = pa.array(((found[:, 0] - rows.gold_value) ** 2).astype(np.float32))
    else:
        chosen, _ = map_logits(found, labels, described["labels"], described["map"], f"{artifact} on {rows.eval_set}")
        columns["gold"] = pa.array(rows.gold, pa.string())
        columns["pred"] = pa.array(
            [described["labels"][index] if index >= 0 else None for index in chosen], pa.string()
        )
        if described["map"] is None and described.get("labelled", True):  # else the label is none of the head's
            index = np.array([list(labels).index(str(label)) for label in rows.gold])
            true = softmax(found)[np.arange(count), index]
            columns["loss"] = pa.array((-np.log(np.clip(true, 1e-45, None))).astype(np.float32))
    return _whole(columns, count)


def predicted_words(artifact: str, rows: pa.Table, found: np.ndarray, needed: float) -> pa.Table:
    """A table like `predictions` of rows of plain text. `found`: (rows, 3), summed loss, supervised words and right
    ones of each; they stand in `logits`. `needed`: share of right words that makes a row right."""
    import numpy as np
    import pyarrow as pa

    count, words = rows.num_rows, np.maximum(found[:, 1], 1)
    columns: dict[str, Any] = {
        "artifact_id": pa.array([artifact] * count),
        **{name: rows.column(name).combine_chunks() for name in ("eval_set", "role", "uid")},
        "logits": pa.FixedSizeListArray.from_arrays(pa.array(found.astype(np.float32).reshape(-1)), 3).cast(
            pa.list_(pa.float32())
        ),
        "gold_value": pa.array(np.full(count, needed)),
        "pred_value": pa.array(np.where(found[:, 1] > 0, found[:, 2] / words, 1.0)),
        "loss": pa.array((found[:, 0] / words).astype(np.float32)),
    }
    return _whole(columns, count)


def _whole(columns: dict[str, Any], count: int) -> pa.Table:
    """All columns of `predictions`, null where nothing is given."""
    import pyarrow as pa

    from ftbench.tables.schema import table

    return pa.table(
        {
            field.name: columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
            for field in table("predictions").arrow()
        }
    )
