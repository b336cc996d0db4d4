"""Stage `upstream`: train a base model on its prior task, so that a study can measure what is lost later.

Of a checkpoint that comes with a head for the prior task, the weights are taken as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.outputs import Outputs


class Spec(Strict):
    prior: str
    model: str
    kind: str
    labels: list[str]
    pool: str
    rows: int | None
    trained: Literal["graph", "checkpoint"] = "graph"
    training: Training


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    from pyarrow import compute

    from ftbench import provenance
    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.prior import SEED, trained_rows
    from ftbench.training.examples import from_table
    from ftbench.training.fit import fit
    from ftbench.training.models import checkpoint_classifier, load_tokenizer, new_classifier
    from ftbench.training.seeds import derived, numpy_generator
    from ftbench.training.weights import plain_state, save_weights, weights_hash

    started = provenance.now()
    snapshot = inputs["base"].parent / "snapshot"
    prepared = read_parquet_file(inputs["prepared"])
    pool = prepared.filter(compute.equal(prepared.column("split"), spec.pool))
    if pool.num_rows == 0:
        raise FtbenchError(f"prior {spec.prior}: found no rows in split `{spec.pool}` (key `prior.pool`)")
    if spec.rows:
        pool = pool.take(trained_rows(pool, spec.rows, numpy_generator(SEED, "prior")))
    tokenizer = load_tokenizer(snapshot)
    fitted = None
    if spec.trained == "checkpoint":
        weights = plain_state(checkpoint_classifier(snapshot, spec.labels, spec.kind))
    else:
        model = new_classifier(
            snapshot, spec.labels, spec.kind, derived(SEED, "init"), spec.training.dropout, tokenizer.pad_token_id
        )
        rows = from_table(pool, spec.labels, spec.kind)
        fitted = fit(model, tokenizer, rows, [], spec.training, spec.kind, SEED, outputs.work)
        if fitted.outcome.weights is None:
            raise FtbenchError(
                f"prior {spec.prior}: the loss was no longer finite at step {fitted.outcome.failed_step}. "
                "Lower `prior.training.learning_rate`."
            )
        weights = fitted.outcome.weights
    save_weights(weights, outputs["model"])
    record = {
        "prior": spec.prior,
        "model": spec.model,
        "labels": spec.labels,
        "train_rows": fitted.train_rows if fitted else 0,
        "steps": fitted.total_steps if fitted else 0,
        "train_seconds": fitted.outcome.seconds if fitted else 0.0,
        "weights_hash": weights_hash(weights),
        **provenance.provenance(outputs.source, started),
    }
    outputs["record"].write_text(json.dumps(record, indent=1))
