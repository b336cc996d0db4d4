"""Opening a family for merging: which runs may go in, the model on which they are tried, and their common start.

Called by the stages `soup` and `path`, whose specs agree on what is read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.merging.source import check_safe

if TYPE_CHECKING:
    from ftbench.merging.source import Source
    from ftbench.soups.laboratory import Laboratory


def usable(spec: Any, inputs: Mapping[str, Path]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Records of the runs that may go in, and why others may not."""
    records, left_out = {}, {}
    for position, run_id in enumerate(spec.ingredients):
        record = json.loads(inputs[f"record{position}"].read_text(encoding="utf-8"))
        if record["status"] == "collapsed" and spec.collapsed == "refuse":
            raise FtbenchError(f"{run_id} has collapsed ({record['error']}) and `collapsed: refuse` is set")
        if record["status"] == "failed" or (record["status"] == "collapsed" and spec.collapsed == "leave_out"):
            left_out[run_id] = f"{record['status']}: {record['error']}"
        elif record["select_score"] is None:
            raise FtbenchError(f"{run_id} has no select score; soups need `training.evaluations` of at least 1")
        else:
            records[run_id] = record
    return records, left_out


def plain_file(spec: Any, inputs: Mapping[str, Path], run_id: str, work: Path) -> Path:
    """A file with all weights of a run: its own, or one made by merging what its methods added."""
    from ftbench.training.artifact import Artifact
    from ftbench.training.models import load_tokenizer
    from ftbench.training.weights import save_weights

    position = spec.ingredients.index(run_id)
    file = inputs[f"model{position}"]
    check_safe(file)
    artifact = Artifact.of(inputs, f"model{position}", f"record{position}")
    if artifact.form == "model":
        return file
    padding_id = load_tokenizer(artifact.snapshot).pad_token_id
    work.mkdir(parents=True, exist_ok=True)
    merged = work / f"plain{position}.safetensors"
    save_weights(artifact.plain_weights(spec.labels, spec.kind, padding_id), merged)
    return merged


def laboratory_for(
    spec: Any, metric: str, inputs: Mapping[str, Path], sources: Mapping[str, Source], work: Path
) -> Laboratory:
    """One model of the ingredients' architecture, holding the first of them, and the `select` rows."""
    from ftbench.data.parquet import read_parquet_file
    from ftbench.soups.laboratory import Laboratory
    from ftbench.training.examples import encode, from_table
    from ftbench.training.inference import device
    from ftbench.training.models import classifier_with, load_tokenizer

    snapshot = inputs["base"].parent / "snapshot"
    tokenizer = load_tokenizer(snapshot)
    select = from_table(read_parquet_file(inputs["select"]), spec.labels, spec.kind)
    first = next(iter(sources.values()))
    tensors = {name: first.tensor(name) for name in first.layout}
    model = classifier_with(snapshot, spec.labels, spec.kind, tensors, tokenizer.pad_token_id)
    return Laboratory(
        model=model.to(device()),
        data=encode(tokenizer, select, spec.max_length),
        sources=sources,
        kind=spec.kind,
        labels=spec.labels,
        metric=metric,
        work=work,
    )


def start_of(inputs: Mapping[str, Path], records: Mapping[str, Any], work: Path) -> Path:
    """theta_0 in a file of the work folder, to be read tensor by tensor like the ingredients."""
    from ftbench.training.models import load_tokenizer
    from ftbench.training.start import rebuilt_start
    from ftbench.training.weights import save_weights

    snapshot = inputs["base"].parent / "snapshot"
    padding = load_tokenizer(snapshot).pad_token_id
    work.mkdir(parents=True, exist_ok=True)
    state = rebuilt_start(next(iter(records.values())), snapshot, inputs.get("start"), padding)
    save_weights(state, work / "start.safetensors")
    return work / "start.safetensors"
