"""What must hold before weights are combined; every refusal names two ingredients and what differs between them.

Records of runs are compared first, then the files. Nothing here reads a whole tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ftbench.config.errors import FtbenchError
from ftbench.merging.source import Source

# what two runs must share, with what a reader should know about it; absent in both is agreement too
SHARED = {
    "architecture": "class and shape of the model",
    "tokenizer_digest": "the tokenizer's files",
    "base_digest": "weights of the pretrained model",
    "kind": "what the task predicts",
    "labels": "order of labels",
    "init_hash": "weights before the first step",
}
_FIXES = {
    "init_hash": " Set `init: shared` in the study; methods that start from other weights do not mix.",
    "labels": " Only tasks with the same labels in the same order can be mixed.",
}


def check_records(records: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> None:
    """The records of all ingredients agree on `SHARED`, and their labels are those of the task, in its order."""
    (first, reference), *others = records.items()
    for name, record in others:
        for key, meaning in SHARED.items():
            if record.get(key) != reference.get(key):
                raise FtbenchError(
                    f"{first} and {name} cannot be averaged: they differ in `{key}` ({meaning}): "
                    f"{_short(reference.get(key))} and {_short(record.get(key))}.{_FIXES.get(key, '')}"
                )
    if list(reference["labels"]) != list(labels):
        raise FtbenchError(
            f"{first} has the labels {reference['labels']} and the task has {list(labels)}. Run the workflow again: "
            "the runs are older than the task's labels."
        )


def check_layouts(sources: Mapping[str, Source]) -> None:
    """All ingredients hold the same names, shapes and types."""
    (first, reference), *others = sources.items()
    if not reference.layout:
        raise FtbenchError(f"{first} holds no tensor ({reference.file}); expected the weights of a finished run")
    for name, source in others:
        differing = sorted(
            key for key in {*reference.layout, *source.layout} if reference.layout.get(key) != source.layout.get(key)
        )
        if differing:
            key = differing[0]
            raise FtbenchError(
                f"{first} and {name} cannot be averaged: tensor `{key}` is {_told(reference, key)} in the first and "
                f"{_told(source, key)} in the second ({len(differing)} of {len(reference.layout)} tensors differ)"
            )


def _told(source: Source, name: str) -> str:
    if name not in source.layout:
        return "absent"
    shape, kind = source.layout[name]
    return f"{kind} {list(shape)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:24]}...{text[-12:]}"
