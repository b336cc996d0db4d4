"""Stage `likelihood`: log-likelihoods of evaluation texts under a language model before and after the task's texts.

`detect` takes the ratio from there without a model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ftbench.config.strict import Strict


class Spec(Strict):
    artifact: str
    task: str
    model: str
    objective: Literal["masked", "causal"]
    pll: Literal["exact", "onepass"]
    tokens: int | None  # of a row that a masked model is asked for, at most
    sets: list[str]  # evaluation sets and `select`
    max_length: int


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `base`, `adapted` and its `model`, `evaluation`; output `likelihoods`. Single precision throughout."""
    import pyarrow as pa
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.tables.store import write_table
    from ftbench.training.examples import encode, from_table
    from ftbench.training.inference import device
    from ftbench.training.likelihood import Reading, likelihoods, opened
    from ftbench.training.models import load_tokenizer, replace_weights
    from ftbench.training.weights import load_weights

    clock, place, snapshot = time.perf_counter(), device(), inputs["base"].parent / "snapshot"
    tokenizer = load_tokenizer(snapshot)
    reading = Reading(spec.objective, tokenizer, spec.pll, spec.tokens)
    evaluation = read_parquet_file(inputs["evaluation"])
    parts = {name: evaluation.filter(compute.equal(evaluation.column("eval_set"), name)) for name in spec.sets}
    model = opened(snapshot, spec.objective, tokenizer)
    found: dict[str, dict[str, object]] = {name: {} for name in parts}
    passed = 0
    for which in ("pretrained", "adapted"):
        if which == "adapted":
            replace_weights(model, load_weights(inputs["model"]))
        model.to(place)
        for name, rows in parts.items():
            texts = from_table(rows, [], "text")
            given = likelihoods(model, reading, encode(tokenizer, texts, spec.max_length), texts.uids, place)
            found[name] |= {which: given.sums, "tokens": given.tokens}
            passed += given.forward_rows
            print(f"{which}, {name}: {len(texts)} rows, {given.forward_rows} passes", flush=True)
    tables = [
        pa.table(
            {
                "artifact_id": pa.array([spec.artifact] * rows.num_rows, pa.string()),
                "eval_set": rows.column("eval_set"),
                "uid": rows.column("uid"),
                **found[name],
            }
        )
        for name, rows in parts.items()
    ]
    cost = {"forward_rows": passed, "seconds": time.perf_counter() - clock}
    write_table("likelihoods", pa.concat_tables(tables), outputs["likelihoods"], cost)
