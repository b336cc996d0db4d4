"""Stage `soup`: one averaged checkpoint from the runs of a family, chosen on the `select` rows alone.

Preconditions are checked here and not left to the user: same layout, same start of all weights, same labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.outputs import Outputs


class Spec(Strict):
    study: str
    task: str
    model: str
    method: str
    variant: str
    family: str
    artifact: str
    recipe: str
    config: dict[str, Any]
    ingredients: list[str]  # run ids; the inputs are named by their position
    kind: str
    labels: list[str]
    select_metric: str
    max_length: int


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    import time

    from ftbench import provenance
    from ftbench.plugins import plugin
    from ftbench.soups.averaging import average, check_same_layout
    from ftbench.soups.base import Candidate, Kitchen, best_first
    from ftbench.training.weights import file_digest, save_weights

    started, clock = provenance.now(), time.perf_counter()
    records = {
        run_id: json.loads(inputs[f"record{position}"].read_text()) for position, run_id in enumerate(spec.ingredients)
    }
    candidates, left_out = [], {}
    for position, run_id in enumerate(spec.ingredients):
        record = records[run_id]
        if record["status"] != "success":
            left_out[run_id] = f"{record['status']}: {record['error']}"
        elif record["select_score"] is None:
            raise FtbenchError(f"{run_id} has no select score; soups need `training.evaluations` of at least 1")
        else:
            file = _plain(spec, inputs, position, outputs.work)
            candidates.append(Candidate(run_id, file, record["select_score"]))
    common = {
        "soup_id": spec.artifact,
        **spec.model_dump(include={"study", "task", "model", "method", "variant", "family", "recipe", "select_metric"}),
        "params_json": json.dumps(spec.config, sort_keys=True),
        "config_json": spec.canonical(),
        "labels": spec.labels,
        "left_out": left_out,
        "accum_dtype": "float64",
        "out_dtype": "float32",
    }
    if not candidates:
        save_weights({}, outputs["model"], {"status": "failed"})
        failed = {
            **common,
            "status": "failed",
            "error": "no ingredient is left: " + "; ".join(left_out.values()),
            "n_candidates": 0,
            "n_ingredients": 0,
            "ingredients": [],
            "wall_seconds": time.perf_counter() - clock,
            "checkpoint_bytes": outputs["model"].stat().st_size,
            "checkpoint_sha256": file_digest(outputs["model"]),
            **provenance.provenance(outputs.source, started),
        }
        outputs["record"].write_text(json.dumps(failed, indent=1))
        return
    candidates = best_first(candidates)
    _same_start([records[candidate.run_id] for candidate in candidates])
    check_same_layout([candidate.file for candidate in candidates])
    files = {candidate.run_id: candidate.file for candidate in candidates}
    with provenance.PeakMemory() as memory:
        score = _scorer(spec, inputs, files)
        factory = plugin("soups", spec.recipe).factory
        decision = factory(factory.Config.model_validate(spec.config)).decide(Kitchen(candidates, score))
        weights = average({files[run_id]: weight for run_id, weight in decision.weights.items()})
        header = {"ingredients": json.dumps(decision.weights), "recipe": spec.recipe, "status": "success"}
        save_weights(weights, outputs["model"], header)
        final = score(decision.weights)
    record = {
        **common,
        "status": "success",
        "error": None,
        "select_score": final,
        "best_single_run_id": candidates[0].run_id,
        "best_single_score": candidates[0].score,
        "n_candidates": len(candidates),
        "n_ingredients": len(decision.weights),
        "wall_seconds": time.perf_counter() - clock,
        "peak_anonymous_bytes": memory.bytes,
        "checkpoint_bytes": outputs["model"].stat().st_size,
        "checkpoint_sha256": file_digest(outputs["model"]),
        "ingredients": [
            {
                "position": position,
                "run_id": candidate.run_id,
                "weight": decision.weights.get(candidate.run_id, 0.0),
                "candidate_rank": position,
                "trial_score": decision.trials.get(candidate.run_id),
                "accepted": candidate.run_id in decision.weights,
            }
            for position, candidate in enumerate(candidates)
        ],
        **provenance.provenance(outputs.source, started),
    }
    outputs["record"].write_text(json.dumps(record, indent=1))
    print(
        f"{len(decision.weights)} of {len(candidates)} runs, {spec.select_metric} on select {final:.4f}",
        flush=True,
    )


def _plain(spec: Spec, inputs: Mapping[str, Path], position: int, work: Path) -> Path:
    """A file with all weights of a run: its own, or one made by merging what its methods added."""
    from ftbench.training.artifact import Artifact
    from ftbench.training.models import load_tokenizer
    from ftbench.training.weights import save_weights

    artifact = Artifact.of(inputs, f"model{position}", f"record{position}")
    if artifact.form == "model":
        return artifact.file
    padding_id = load_tokenizer(artifact.snapshot).pad_token_id
    work.mkdir(parents=True, exist_ok=True)
    merged = work / f"plain{position}.safetensors"
    save_weights(artifact.plain_weights(spec.labels, spec.kind, padding_id), merged)
    return merged


def _same_start(records: list[dict[str, Any]]) -> None:
    first = records[0]
    for other in records[1:]:
        for key, meaning in (("init_hash", "weights before the first step"), ("labels", "order of labels")):
            if other[key] != first[key]:
                raise FtbenchError(
                    f"{first['run_id']} and {other['run_id']} cannot be averaged: they differ in `{key}` ({meaning}): "
                    f"{first[key]} and {other[key]}. Set `init: shared` in the study."
                )


def _scorer(spec: Spec, inputs: Mapping[str, Path], files: Mapping[str, Path]) -> Any:
    """A function from weights of runs to the score of their average on `select`; computed once for each choice."""
    from ftbench.data.parquet import read_parquet_file
    from ftbench.metrics.selection import selection_score
    from ftbench.soups.averaging import average
    from ftbench.training.examples import encode, from_table
    from ftbench.training.inference import device, logits
    from ftbench.training.models import classifier_with, load_tokenizer

    snapshot = inputs["base"].parent / "snapshot"
    tokenizer = load_tokenizer(snapshot)
    select = from_table(read_parquet_file(inputs["select"]), spec.labels, spec.kind)
    data, place = encode(tokenizer, select, spec.max_length), device()
    known: dict[tuple[tuple[str, float], ...], float] = {}

    def score(weights: Mapping[str, float]) -> float:
        key = tuple(sorted(weights.items()))
        if key not in known:
            mixed = average({files[run_id]: weight for run_id, weight in weights.items()})
            model = classifier_with(snapshot, spec.labels, spec.kind, mixed, tokenizer.pad_token_id).to(place)
            assert select.targets is not None
            found = logits(model, data, place)
            known[key] = selection_score(spec.select_metric, found, select.targets, spec.kind, spec.labels)
        return known[key]

    return score
