"""Reading a model's outputs in the labels of an evaluation set, always by name.

The stages `predict` and `score` and the selection of soups call `map_logits`; nothing else may turn a column
index into a label. Needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError, problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

RULES = ("argmax_then_merge", "sum_then_argmax")


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Probabilities in double precision; logits: (rows, labels). Rows with NaN or +inf become NaN."""
    import numpy as np

    values = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def label_map_matrix(
    labels: Sequence[str], set_labels: Sequence[str], label_map: Mapping[str, Any] | None, where: str = ""
) -> NDArray[np.float64]:
    """Which label of the model stands for which label of the set: (labels, set_labels), zeros and ones.

    Without a map the names must be the same, in any order. With a map, {"rule", "to"}, its keys are labels of
    the model and its values labels of the set; a label of the model without an entry stands for none.
    Raises `FtbenchError` where the names do not fit.
    """
    import numpy as np

    for names, owner in ((labels, "the model"), (set_labels, "the set")):
        if len(set(names)) != len(names):
            raise FtbenchError(problem(file=where, found=f"a label twice in {list(names)}, the labels of {owner}"))
    if label_map is None:
        if set(labels) != set(set_labels):
            raise FtbenchError(
                problem(
                    file=where,
                    key="maps",
                    found=f"model labels {list(labels)}, set labels {list(set_labels)} and no map",
                    expected="the same names, or a map from the model's labels",
                    fix="Add `maps` with a `to` for each of the model's labels to the set's entry.",
                )
            )
        to = {name: name for name in labels}
    else:
        to = dict(label_map["to"])
        strange = [name for name in to if name not in labels] + [name for name in to.values() if name not in set_labels]
        if strange:
            raise FtbenchError(
                problem(
                    file=where,
                    key="maps.to",
                    found=f"a label map with {strange}",
                    expected=f"a map from {list(labels)} to {list(set_labels)}",
                )
            )
    matrix = np.zeros((len(labels), len(set_labels)))
    for name, target in to.items():
        matrix[list(labels).index(name), list(set_labels).index(target)] = 1.0
    return matrix


def map_logits(
    logits: ArrayLike,
    labels: Sequence[str],
    set_labels: Sequence[str],
    label_map: Mapping[str, Any] | None = None,
    where: str = "",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Predictions and probabilities in the labels of an evaluation set.

    logits: (rows, labels), in the order of `labels`, the model's. `label_map` is null or {"rule", "to"} as
    the audit stores it. Two rules are in use and may disagree on the same row: `argmax_then_merge` reads
    the model's best label in the set's labels; `sum_then_argmax` adds the probabilities that stand for one
    label of the set and takes the best sum.

    Returns the index into `set_labels`, (rows,), and the added probabilities, (rows, set_labels), under both
    rules. The index is -1 where the logits are not numbers, or the best label stands for none of the set's.
    Ties go to the label that comes first in the model's order, or in the set's for sums.
    """
    import numpy as np

    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise FtbenchError(
            problem(
                file=where,
                found=f"logits of shape {values.shape}",
                expected=f"a column for each of the labels {list(labels)}",
            )
        )
    rule = label_map["rule"] if label_map is not None else RULES[0]
    if rule not in RULES:
        raise FtbenchError(problem(file=where, key="rule", found=repr(rule), expected=f"one of {list(RULES)}"))
    matrix = label_map_matrix(labels, set_labels, label_map, where)
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros((0, len(set_labels)))
    probabilities = softmax(values)
    mapped = probabilities @ matrix
    valid = np.isfinite(probabilities).all(axis=1)
    if rule == "sum_then_argmax":
        chosen = mapped.argmax(axis=1)
    else:
        target = np.where(matrix.any(axis=1), matrix.argmax(axis=1), -1)
        chosen = target[values.argmax(axis=1)]
    return np.where(valid, chosen, -1).astype(np.int64), mapped
