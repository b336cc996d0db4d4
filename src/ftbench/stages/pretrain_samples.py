"""Stage `pretrain_samples`: what a model knows of its prior task before fine-tuning, one row per pool sample.

Computed once per model and prior set and shared by all runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict


class Spec(Strict):
    prior: str
    model: str
    kind: str
    labels: list[str]
    pool: str
    max_length: int


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    import numpy as np
    from pyarrow import compute

    from ftbench.data.labels import softmax
    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.prior import hashes
    from ftbench.tables.store import write_table
    from ftbench.training.examples import encode, from_table
    from ftbench.training.inference import device, logits
    from ftbench.training.models import classifier_with, load_tokenizer
    from ftbench.training.weights import load_weights

    if spec.kind != "classification":
        raise FtbenchError(f"prior {spec.prior}: found a {spec.kind} set; expected a classification")
    snapshot = inputs["base"].parent / "snapshot"
    tokenizer = load_tokenizer(snapshot)
    prepared = read_parquet_file(inputs["prepared"])
    pool = prepared.filter(compute.equal(prepared.column("split"), spec.pool))
    rows = from_table(pool, spec.labels, spec.kind)
    assert rows.targets is not None
    place = device()
    model = classifier_with(snapshot, spec.labels, spec.kind, load_weights(inputs["start"]), tokenizer.pad_token_id)
    data = encode(tokenizer, rows, spec.max_length)
    found = logits(model.to(place), data, place).astype(np.float64)
    probabilities = softmax(found)
    true = probabilities[np.arange(len(rows)), rows.targets]
    top = np.sort(probabilities, axis=1)
    highest = found.max(axis=1, keepdims=True)
    energy = -(highest[:, 0] + np.log(np.exp(found - highest).sum(axis=1)))
    predicted = found.argmax(axis=1)
    content = [
        {
            "model": spec.model,
            "prior_set": spec.prior,
            "uid": uid,
            "text_hash": text_hash,
            "label": spec.labels[rows.targets[index]],
            "prior_pred": spec.labels[predicted[index]],
            "prior_correct": bool(predicted[index] == rows.targets[index]),
            "prior_loss": float(-np.log(max(true[index], 1e-45))),
            "prior_p_true": float(true[index]),
            "prior_margin": float(top[index, -1] - top[index, -2]),
            "prior_entropy": float(-(top[index] * np.log(np.clip(top[index], 1e-300, None))).sum()),
            "prior_energy": float(energy[index]),
            "n_tokens": int(data.lengths[index]),
            "n_chars": len(rows.text_a[index]) + (len(rows.text_b[index]) if rows.text_b else 0),
        }
        for index, (uid, text_hash) in enumerate(zip(rows.uids, hashes(pool), strict=True))
    ]
    write_table("pretrain_samples", content, outputs["samples"])
    print(f"{len(content)} rows, {np.mean(predicted == rows.targets):.1%} right", flush=True)
