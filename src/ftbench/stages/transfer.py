"""Stage `transfer`: an artifact's predictions on the texts with which attacks fooled other artifacts.

They go to a file of their own, so that the artifact's other predictions stay as they are. Only successful texts are
read; whether the artifact had the original right is looked up when the table is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import pyarrow as pa


class Source(Strict):
    """One attacked artifact; `text` is which text of a pair was attacked, as in the attack's settings."""

    attack: str
    artifact: str
    text: str
    shards: int

    @property
    def eval_set(self) -> str:
        return f"adv:{self.attack}:{self.artifact}"


class Spec(Strict):
    artifact: str
    labels: list[str]
    max_length: int
    precision: str
    sources: list[Source]


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs: `evaluation`, the artifact, and `attacks{number}_{shard}` for the sources in order; output
    `predictions`."""
    import pyarrow as pa

    from ftbench.data.parquet import read_parquet_file
    from ftbench.tables.store import empty, read_table, write_table
    from ftbench.training.artifact import Artifact
    from ftbench.training.inference import batching, device
    from ftbench.training.optimization import resolved_precision

    header: dict[str, Any] = {"labels": spec.labels, "prior_labels": None}
    header["batching"] = batching(device(), resolved_precision(spec.precision, device()))
    tables: list[pa.Table] = []
    if json.loads(inputs["record"].read_text())["status"] == "failed":
        print("the artifact has no weights: nothing to predict", flush=True)
    else:
        evaluation = {(row["eval_set"], row["uid"]): row for row in read_parquet_file(inputs["evaluation"]).to_pylist()}
        model = Artifact.opened(inputs, spec.labels, "classification")
        for number, source in enumerate(spec.sources):
            shards = [read_table("attacks", inputs[f"attacks{number}_{shard}"]) for shard in range(source.shards)]
            rows = [row for table in shards for row in table.to_pylist() if _fooled(row)]
            if rows:
                tables.append(_predicted(spec, source, rows, evaluation, model))
            print(f"{source.eval_set}: {len(rows)} texts", flush=True)
    found = pa.concat_tables(tables) if tables else empty("predictions")
    write_table("predictions", found, outputs["predictions"], header)


def _fooled(row: Mapping[str, Any]) -> bool:
    """An attack that changed a right prediction; one on predictions also changes wrong ones."""
    return bool(row["status"] == "success" and row["pred_before"] == row["gold"])


def _predicted(
    spec: Spec,
    source: Source,
    rows: list[dict[str, Any]],
    evaluation: Mapping[tuple[str, str], Mapping[str, Any]],
    model: tuple[Any, Any],
) -> pa.Table:
    from ftbench.data.predicted import Rows, predicted
    from ftbench.training.examples import Examples, encode
    from ftbench.training.inference import device, logits
    from ftbench.training.optimization import resolved_precision

    # a row that stands in two attacked sets has one uid and the same text in both
    rows = list({row["uid"]: row for row in rows}.values())
    first, second = [], []
    for row in rows:
        original = evaluation[row["eval_set"], row["uid"]]
        changes_second = original["text_b"] is not None and source.text != "text_a"
        first.append(original["text_a"] if changes_second else row["text_after"])
        second.append(row["text_after"] if changes_second else original["text_b"])
    paired = None if any(text is None for text in second) else second
    examples = Examples([row["uid"] for row in rows], first, paired, None)
    place = device()
    data = encode(model[1], examples, spec.max_length)
    found = logits(model[0], data, place, resolved_precision(spec.precision, place))
    about = Rows(source.eval_set, "adversarial", examples.uids, [row["gold"] for row in rows], None)
    return predicted(spec.artifact, about, found, "classification", spec.labels, {"labels": spec.labels, "map": None})
