"""Stage `finetune`: one run, task x model x method x variant x seed.

A loss that leaves the numbers is a result about the method, not a failed job: the run is recorded as `failed`
with its step, the weights file holds no tensor, and the stages behind it carry on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.outputs import Outputs
from ftbench.stages.prior_pool import PriorInputs


class Plug(Strict):
    """A method plug-in with its resolved settings."""

    name: str
    config: dict[str, Any]


class Setting(Strict):
    """What a tuning may choose: plug-ins with their settings, and the settings of the loop."""

    methods: list[Plug]
    training: Training


class Spec(Strict):
    study: str
    task: str
    model: str
    method: str
    variant: str
    seed: int
    methods: list[Plug]
    training: Training
    kind: str
    labels: list[str]
    select_metric: str
    train_rows: int | None = None  # drawn by the run's seed: `training.rows`, or `train.rows` with `subset: per_seed`
    init: Literal["shared", "per_seed"]
    prior_head: Literal["separate", "shared"] = "separate"
    prior: PriorInputs | None = None  # where a method of the run wants the prior task
    tuned: dict[str, Setting] | None = None  # by trial; the input `tuned` says which of them was chosen


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    if spec.training.processes > 1:
        from ftbench.training.launch import run_together

        run_together(spec.training.processes, "finetune", spec.canonical(), inputs, outputs)
    else:
        run_alone(spec, inputs, outputs)


def run_alone(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    """The run, or this process's share of it."""
    import time

    from ftbench import provenance
    from ftbench.data.parquet import read_parquet_file
    from ftbench.metrics.selection import collapsed, majority_score, selection_score
    from ftbench.plugins import plugin
    from ftbench.stages.prior_pool import prior_task
    from ftbench.training.artifact import saved_form
    from ftbench.training.examples import from_table
    from ftbench.training.fit import fit
    from ftbench.training.models import load_tokenizer, replace_weights, started_classifier
    from ftbench.training.seeds import derived
    from ftbench.training.start import identity
    from ftbench.training.weights import file_digest, load_weights, save_weights

    started, clock = provenance.now(), time.perf_counter()
    asked, trial = spec, None
    if spec.tuned is not None:
        trial = json.loads(inputs["tuned"].read_text())["chosen"]
        spec = spec.model_copy(update=dict(spec.tuned[trial]))
    snapshot = inputs["base"].parent / "snapshot"
    rows = _training_rows(spec, read_parquet_file(inputs["train"]))
    train = from_table(rows, spec.labels, spec.kind)
    select = from_table(read_parquet_file(inputs["select"]), spec.labels, spec.kind)
    targets = select.targets
    assert targets is not None
    methods = []
    for plug in spec.methods:
        factory = plugin("methods", plug.name).factory
        methods.append(factory(factory.Config.model_validate(plug.config)))
    tokenizer = load_tokenizer(snapshot)
    init_seed = 0 if spec.init == "shared" else spec.seed
    model = started_classifier(
        snapshot, spec.labels, spec.kind, derived(init_seed, "init"), inputs.get("start"), spec.training.dropout,
        tokenizer.pad_token_id,
    )  # fmt: skip
    if spec.prior_head == "shared":  # the task's head is the prior's and goes on from there
        replace_weights(model, load_weights(inputs["start"]))
    prior = prior_task(spec.prior, spec.labels, inputs, tokenizer) if spec.prior else None
    about = identity(snapshot, model)
    with provenance.PeakMemory() as memory:
        fitted = fit(
            model, tokenizer, train, methods, spec.training, spec.kind, spec.seed, outputs.work, select,
            lambda found: selection_score(spec.select_metric, found, targets, spec.kind, spec.labels),
            init_seed, prior, snapshot,
        )  # fmt: skip
    outcome = fitted.outcome
    majority = majority_score(spec.select_metric, targets, spec.kind, spec.labels)
    status, error = "success", None
    if outcome.weights is None:
        status, error = "failed", f"the loss was no longer finite at step {outcome.failed_step}"
    elif outcome.best_score is not None and collapsed(spec.select_metric, outcome.best_score, majority):
        status = "collapsed"
        error = f"{spec.select_metric} on select {outcome.best_score:.4f}, no better than the commonest answer"
    save_weights(outcome.weights or {}, outputs["model"], {"status": status, **saved_form(methods)})
    _write_log(outcome.log, outcome.scores, outputs["log"])
    record = {
        "run_id": f"runs/{spec.task}/{spec.model}/{spec.method}/{spec.variant}/s{spec.seed}",
        **spec.model_dump(
            include={"study", "task", "model", "method", "variant", "seed", "kind", "labels", "select_metric"}
        ),
        "methods": [plug.model_dump(mode="json") for plug in spec.methods],
        "status": status,
        "error": error,
        **about,
        "init_hash": fitted.init_hash,
        "init_seed": init_seed,
        "order_seed": spec.seed,
        "data_seed": spec.seed if spec.train_rows else 0,
        "config_json": asked.canonical(),
        "trial": trial,
        "train_rows": fitted.train_rows,
        "steps": len(outcome.log),
        "best_step": outcome.best_step,
        "select_score": outcome.best_score,
        "majority_score": majority,
        "precision": outcome.precision,
        "accumulation": min(spec.training.batch_size, spec.training.accumulation * outcome.parts),
        "train_seconds": outcome.seconds,
        "total_seconds": time.perf_counter() - clock,
        "examples_seen": outcome.rows,
        "charged_rows": charged_rows(outcome.rows, fitted.facts),
        "tokens_seen": outcome.tokens or None,
        "examples_per_second": outcome.rows / outcome.seconds if outcome.seconds else None,
        "peak_memory_bytes": memory.bytes,
        "trainable_parameters": fitted.trainable_parameters,
        "total_parameters": fitted.total_parameters,
        "checkpoint_bytes": outputs["model"].stat().st_size,
        "checkpoint_sha256": file_digest(outputs["model"]),
        **fitted.facts,
        **provenance.provenance(outputs.source, started),
    }
    outputs["record"].write_text(json.dumps(record, indent=1))
    print(f"{status}: {spec.select_metric} on select {outcome.best_score}", flush=True)


def charged_rows(seen: int, facts: Mapping[str, Any]) -> float:
    """Training rows that a run costs: new and rehearsed ones, and a third for each row that was only passed forward."""
    return float(seen + (facts.get("rehearsed_rows") or 0) + (facts.get("forward_rows_extra") or 0) / 3)


def _training_rows(spec: Spec, table: Any) -> Any:
    """All training rows, or the stratified subset that this seed draws."""
    from ftbench.config.errors import FtbenchError
    from ftbench.data.sampling import strata_of, stratified
    from ftbench.training.seeds import numpy_generator

    if spec.train_rows is None:
        return table
    if spec.train_rows > table.num_rows:
        raise FtbenchError(
            f"task {spec.task}: found {table.num_rows} training rows; `training.rows` of the method or "
            f"`train.rows` of the task asks for {spec.train_rows}"
        )
    strata = strata_of(table.column("label").to_pylist(), table.column("value").to_pylist())
    return table.take(stratified(strata, spec.train_rows, numpy_generator(spec.seed, "data")))


def _write_log(log: list[dict[str, Any]], scores: list[dict[str, Any]], file: Path) -> None:
    """One row a step: loss, rate, gradient norm, and the select score at the steps that were evaluated."""
    import pyarrow as pa
    from pyarrow import parquet

    found = {(row["phase"], row["step"]): row["score"] for row in scores}
    types = {
        "phase": pa.int32(), "step": pa.int32(), "loss": pa.float64(), "learning_rate": pa.float64(),
        "gradient_norm": pa.float64(), "rows": pa.int32(), "skipped": pa.bool_(), "select_score": pa.float64(),
    }  # fmt: skip
    rows = [{**row, "select_score": found.get((row["phase"], row["step"]))} for row in log]
    # steps behind a non-finite loss were not checked and stay without numbers
    plain = [{key: row.get(key) if not hasattr(row.get(key), "item") else None for key in types} for row in rows]
    parquet.write_table(pa.Table.from_pylist(plain, schema=pa.schema(list(types.items()))), file, compression="zstd")
