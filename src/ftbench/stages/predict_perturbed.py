"""Stage `predict_perturbed`: raw logits of one artifact on the perturbed texts of its task.

Its file lies beside the ordinary predictions and is made without them. Equal texts are predicted once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.strict import Strict


class Spec(Strict):
    artifact: str
    kind: str
    labels: list[str]
    max_length: int
    precision: str


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `perturbed`, `audit`, and those of an artifact's weights; output `predictions`, without rows where the
    artifact failed."""
    import pyarrow as pa

    from ftbench.data.parquet import read_parquet_file
    from ftbench.tables.store import empty, write_table
    from ftbench.training.inference import batching, device
    from ftbench.training.optimization import resolved_precision

    header: dict[str, Any] = {"labels": spec.labels}
    header["batching"] = batching(device(), resolved_precision(spec.precision, device()))
    rows = read_parquet_file(inputs["perturbed"])
    if json.loads(inputs["record"].read_text())["status"] == "failed" or rows.num_rows == 0:
        print("nothing to predict: the artifact has no weights, or there are no perturbed rows", flush=True)
        write_table("perturbed_predictions", empty("perturbed_predictions"), outputs["predictions"], header)
        return
    pairs = list(zip(rows.column("text_a").to_pylist(), rows.column("text_b").to_pylist(), strict=True))
    place = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    found = _logits(spec, inputs, list(place))[[place[pair] for pair in pairs]]
    print(f"{len(pairs)} rows, {len(place)} different texts", flush=True)
    logits = pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1), pa.float32()), found.shape[1])
    columns: dict[str, Any] = {name: rows.column(name) for name in ("perturbation", "eval_set", "seed", "strength")}
    columns |= {"uid": rows.column("uid"), "changed": rows.column("changed")}
    columns |= {"gold": rows.column("label"), "gold_value": rows.column("value")}
    table = pa.table(
        {
            "artifact_id": pa.array([spec.artifact] * len(pairs)),
            **columns,
            "logits": logits.cast(pa.list_(pa.float32())),
        }
    )
    write_table("perturbed_predictions", table, outputs["predictions"], header)


def _logits(spec: Spec, inputs: Mapping[str, Path], pairs: list[tuple[str, str | None]]) -> Any:
    """Logits (texts, labels) in single precision."""
    import numpy as np

    from ftbench.training.artifact import Artifact
    from ftbench.training.examples import Examples, encode
    from ftbench.training.inference import device, logits
    from ftbench.training.optimization import resolved_precision

    model, tokenizer = Artifact.opened(inputs, spec.labels, spec.kind)
    place = device()
    precision = resolved_precision(spec.precision, place)
    found: Any = None
    for paired in (False, True):  # a tokenizer takes single texts and pairs apart
        rows = [number for number, (_, second) in enumerate(pairs) if (second is not None) is paired]
        if not rows:
            continue
        first = [pairs[number][0] for number in rows]
        seconds = [str(pairs[number][1]) for number in rows] if paired else None
        examples = Examples([str(number) for number in rows], first, seconds, None)
        values = logits(model, encode(tokenizer, examples, spec.max_length), place, precision)
        if found is None:
            found = np.empty((len(pairs), values.shape[1]), dtype=np.float32)
        found[rows] = values
    return found
