"""Stage `adapt`: train a base model's language model on the texts of a task, so that likelihoods can be compared.

Only studies run it whose `detection` asks for `likelihood`. Labels are not read, selection rows not trained on.
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

SEED = 0  # one language model for a task and model, not one for each seed of the runs


class Spec(Strict):
    task: str
    model: str
    objective: Literal["masked", "causal"]
    training: Training


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    """Inputs `base` and `train`; outputs `model`, the language model's weights, and `record`, its cost."""
    from ftbench import provenance
    from ftbench.data.parquet import read_parquet_file
    from ftbench.training.examples import from_table
    from ftbench.training.inference import device
    from ftbench.training.language_tuning import tuned
    from ftbench.training.likelihood import opened
    from ftbench.training.models import load_tokenizer
    from ftbench.training.weights import plain_state, save_weights, weights_hash

    started, snapshot = provenance.now(), inputs["base"].parent / "snapshot"
    tokenizer = load_tokenizer(snapshot)
    model = opened(snapshot, spec.objective, tokenizer)
    texts = from_table(read_parquet_file(inputs["train"]), [], "text")
    with provenance.PeakMemory() as memory:
        outcome = tuned(model, tokenizer, texts, spec.objective, spec.training, SEED, outputs.work, device())
    if outcome.weights is None:
        raise FtbenchError(
            f"task {spec.task}, model {spec.model}: the loss of the language model was no longer finite at step "
            f"{outcome.failed_step}. Lower `detection.likelihood.training.learning_rate`."
        )
    weights = plain_state(model)
    save_weights(weights, outputs["model"])
    record = {
        **spec.model_dump(include={"task", "model", "objective"}),
        "train_rows": len(texts),
        "steps": len(outcome.log),
        "train_seconds": outcome.seconds,
        "examples_seen": outcome.rows,
        "tokens_seen": outcome.tokens or None,
        "peak_memory_bytes": memory.bytes,
        "final_loss": outcome.log[-1].get("loss") if outcome.log else None,
        "weights_hash": weights_hash(weights),
        **provenance.provenance(outputs.source, started),
    }
    outputs["record"].write_text(json.dumps(record, indent=1))
