"""The rehearsal pool of a run, put together from the prior samples and the prior task's rows.

Stage `finetune` calls it for runs whose methods want the prior task; other runs do not depend on these files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    from ftbench.training.prior_task import PriorTask

COLUMNS = ["uid", "role", "label", "aux", "prior_loss", "prior_correct", "prior_logits", "n_tokens", "cluster"]


class PriorInputs(Strict):
    """The prior task as a run has to know it."""

    name: str
    kind: str
    labels: list[str]
    shared: bool
    max_length: int
    width: float | None = None
    words: float = 1.0  # of plain text: share of a row's supervised words that must be right


def prior_task(spec: PriorInputs, task_labels: list[str], inputs: Mapping[str, Path], tokenizer: Any) -> PriorTask:
    """Inputs `samples`, `prior_rows`, and `start` where the prior task has labels. Statistics without their
    row, or a pool without rows, are errors."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.tables.streamed import parts
    from ftbench.training.examples import encode, from_table
    from ftbench.training.prior_task import PriorTask
    from ftbench.training.token_statistics import OBJECTIVES, Question
    from ftbench.training.weights import load_weights

    found = [
        part.filter(compute.equal(part.column("role"), "rehearsal_pool"))
        for part in parts("pretrain_samples", inputs["samples"], columns=COLUMNS)
    ]
    samples = pa.concat_tables(found).combine_chunks()
    if samples.num_rows == 0:
        raise FtbenchError(f"{inputs['samples']}: found no row of the pool of prior `{spec.name}`")
    rows = read_parquet_file(inputs["prior_rows"])
    places = compute.index_in(samples.column("uid"), value_set=rows.column("uid").combine_chunks())
    if places.null_count:
        raise FtbenchError(
            f"{inputs['samples']}: found {places.null_count} samples whose text is not in {inputs['prior_rows']}. "
            "Delete the samples and run the study again."
        )
    text = spec.kind in OBJECTIVES
    objective: Any = spec.kind
    losses = samples.column("prior_loss").to_numpy().astype(np.float64)
    logits = samples.column("prior_logits")
    clusters = samples.column("cluster")
    return PriorTask(
        kind=spec.kind,
        pool=from_table(rows.take(places), spec.labels, "text" if text else spec.kind),
        encode=lambda examples: encode(tokenizer, examples, spec.max_length),
        losses=losses,
        correct=samples.column("prior_correct").to_numpy(zero_copy_only=False),
        weights={} if text else load_weights(inputs["start"]),
        shared=spec.shared,
        same_labels=not text and spec.labels == task_labels,
        width=spec.width or 0.0,
        logits=None if logits.null_count else np.stack(logits.to_numpy(zero_copy_only=False)).astype(np.float32),
        clusters=None if clusters.null_count else clusters.to_numpy(),
        aux=auxiliary(samples),
        question=Question(objective, tokenizer, spec.words) if text else None,
    )


def auxiliary(samples: Any) -> dict[str, list[str]]:
    """What rows can be binned by besides their loss: the label, the tenth of the length, and the entry's columns."""

    from ftbench.data.bins import bin_numbers, quantile_edges

    lengths = samples.column("n_tokens").to_numpy()
    tenths = bin_numbers(lengths, quantile_edges(lengths, 10))
    found = {"length": [f"length {number:02d}" for number in tenths]}
    labels = samples.column("label")
    if not labels.null_count:
        found["label"] = labels.to_pylist()
    further = [json.loads(text) if text else {} for text in samples.column("aux").to_pylist()]
    for name in sorted(set().union(*(row.keys() for row in further))):
        found[name] = [str(row.get(name, "")) for row in further]
    return found
