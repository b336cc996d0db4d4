"""Stage `embed`: what one artifact's last layer reads of training and evaluation rows.

Only studies run it whose `detection` names a score of features; `detect` takes it from there without a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(Strict):
    artifact: str
    kind: str
    labels: list[str]
    sets: list[str]  # evaluation sets and `select`
    train_rows: int  # stratified, the same for all artifacts of a task
    max_length: int
    precision: str


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs as of the stage `predict`, and `train`; output `features`, without rows if the artifact failed."""
    import pyarrow as pa
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.sampling import strata_of, stratified
    from ftbench.tables.store import empty, write_table
    from ftbench.training.artifact import Artifact
    from ftbench.training.seeds import numpy_generator

    if json.loads(inputs["record"].read_text())["status"] == "failed":
        print("the artifact has no weights: nothing to read", flush=True)
        write_table("features", empty("features"), outputs["features"])
        return
    train, evaluation = (read_parquet_file(inputs[name]) for name in ("train", "evaluation"))
    strata = strata_of(train.column("label").to_pylist(), train.column("value").to_pylist())
    train = train.take(stratified(strata, spec.train_rows, numpy_generator(0, "features")))
    model, tokenizer = Artifact.opened(inputs, spec.labels, spec.kind)
    tables = [_read(spec, "train", train, model, tokenizer, train.column("label"))]
    for name in spec.sets:
        rows = evaluation.filter(compute.equal(evaluation.column("eval_set"), name))
        tables.append(_read(spec, name, rows, model, tokenizer, None))
    write_table("features", pa.concat_tables(tables), outputs["features"])


def _read(spec: Spec, name: str, rows: pa.Table, model: Any, tokenizer: Any, labels: Any) -> pa.Table:
    import pyarrow as pa

    from ftbench.training.examples import encode, from_table
    from ftbench.training.features import head_features
    from ftbench.training.inference import device
    from ftbench.training.optimization import resolved_precision

    place, count = device(), rows.num_rows
    data = encode(tokenizer, from_table(rows, [], "text"), spec.max_length)
    found = head_features(model, data, place, resolved_precision(spec.precision, place))
    print(f"{name}: {count} rows of width {found.shape[1]}", flush=True)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1])
    return pa.table(
        {
            "artifact_id": pa.array([spec.artifact] * count, pa.string()),
            "eval_set": pa.array([name] * count, pa.string()),
            "uid": rows.column("uid"),
            "label": pa.nulls(count, pa.string()) if labels is None else labels,
            "feature": vectors.cast(pa.list_(pa.float32())),
        }
    )
