"""Evaluation and selection rows on which points of a path are judged: mean loss and one score for each set.

Called by the stage `path`. What is found here is described and never used to choose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ftbench.soups.laboratory import Laboratory
    from ftbench.training.examples import Encoded, Examples

SELECT = "select"


class PriorHead(Strict):
    """How a path reads the prior task's rows: under its own head, or under the run's where they share one."""

    kind: str
    labels: list[str]
    shared: bool
    max_length: int
    metric: str


@dataclass
class Judged:
    """The rows of one set with their true labels, and how the model's labels are read in the set's."""

    eval_set: str
    role: str
    examples: Examples
    gold: list[str | None]
    kind: str
    labels: list[str]  # of the model
    set_labels: list[str]
    map: Mapping[str, Any] | None
    tokenizer: Any
    max_length: int
    metric: str
    head: Mapping[str, torch.Tensor] | None = None  # weights whose pooler and classifier judge; None: the model's own
    _encoded: Encoded | None = None
    _model: torch.nn.Module | None = None

    def walked(self, laboratory: Laboratory) -> dict[str, Any]:
        """What the laboratory's model, as it stands, says of the rows: see `judge`."""
        from ftbench.training.examples import encode
        from ftbench.training.inference import logits
        from ftbench.training.prior_task import under_head

        if self._encoded is None or self._model is None:
            self._encoded = encode(self.tokenizer, self.examples, self.max_length)
            self._model = laboratory.model if self.head is None else under_head(laboratory.model, self.head)
        return self.judge(logits(self._model, self._encoded, laboratory.place))

    def judge(self, found: np.ndarray) -> dict[str, Any]:
        """Mean loss (null behind a label map) and score of raw outputs (rows, labels)."""
        import math

        import numpy as np

        from ftbench.data.labels import map_logits, softmax
        from ftbench.metrics.base import Predictions
        from ftbench.plugins import plugin

        nothing, none = np.zeros(0), np.zeros(0, dtype=np.int64)
        loss: float | None
        if self.kind == "regression":
            assert self.examples.targets is not None
            gold = self.examples.targets.astype(np.float64)
            value = found[:, 0].astype(np.float64)
            predictions = Predictions(self.kind, (), none, none, np.zeros((0, 0)), gold, value)
            loss = float(((gold - value) ** 2).mean())
        else:
            chosen, chances = map_logits(found, self.labels, self.set_labels, self.map, self.eval_set)
            index = np.array([self.set_labels.index(str(label)) for label in self.gold])
            predictions = Predictions(self.kind, tuple(self.set_labels), index, chosen, chances, nothing, nothing)
            loss = None
            if self.map is None:
                own = np.array([self.labels.index(str(label)) for label in self.gold])
                loss = float(-np.log(np.clip(softmax(found)[np.arange(len(own)), own], 1e-45, None)).mean())
        measure = plugin("metrics", self.metric).factory()
        score = float(measure.score(predictions))
        oriented = score if measure.higher_is_better else -score
        return {
            "eval_set": self.eval_set,
            "role": self.role,
            "metric": self.metric,
            "loss": loss if loss is not None and math.isfinite(loss) else None,
            "score": oriented if math.isfinite(oriented) else None,
            "n": len(found),
        }


def judged_sets(spec: Any, inputs: Mapping[str, Path]) -> list[Judged]:
    """The sets that a path asks for, each cut to `spec.rows` stratified rows."""
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.sampling import strata_of, stratified
    from ftbench.training.examples import Examples
    from ftbench.training.models import load_tokenizer
    from ftbench.training.seeds import numpy_generator
    from ftbench.training.weights import load_weights

    tokenizer = load_tokenizer(inputs["base"].parent / "snapshot")
    described = json.loads(inputs["audit"].read_text(encoding="utf-8"))["sets"]
    evaluation = read_parquet_file(inputs["evaluation"])
    sets = []
    for name in spec.sets:
        if name == SELECT:
            rows, about = read_parquet_file(inputs["select"]), {"role": SELECT, "labels": spec.labels, "map": None}
        elif name in described:
            rows, about = evaluation.filter(compute.equal(evaluation.column("eval_set"), name)), described[name]
        else:
            raise FtbenchError(
                f"{spec.path}: found no evaluation set `{name}`; there are {sorted({SELECT, *described})}"
            )
        prior: PriorHead | None = spec.prior if about["role"] == "prior" else None
        kind, own = (prior.kind, prior.labels) if prior else (spec.kind, spec.labels)
        labels, values = rows.column("label").to_pylist(), rows.column("value").to_pylist()
        if spec.rows is not None and spec.rows < len(labels):
            chosen = stratified(strata_of(labels, values), spec.rows, numpy_generator(0, "path", name))
            rows = rows.take(chosen)
            labels, values = rows.column("label").to_pylist(), rows.column("value").to_pylist()
        second = rows.column("text_b").to_pylist()
        examples = Examples(
            rows.column("uid").to_pylist(),
            rows.column("text_a").to_pylist(),
            None if any(text is None for text in second) else second,
            rows.column("value").to_numpy(zero_copy_only=False) if kind == "regression" else None,
        )
        sets.append(
            Judged(name, about["role"], examples, labels, kind, own, about["labels"], about["map"], tokenizer,
                   prior.max_length if prior else spec.max_length, prior.metric if prior else spec.metric,
                   load_weights(inputs["start"]) if prior and not prior.shared else None)
        )  # fmt: skip
    return sets
