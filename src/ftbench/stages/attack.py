"""Stage `attack`: one attack with one seed on one artifact, or on its share of the sampled rows.

Examples are attacked in groups of fixed members; finished groups are kept, so that a stopped job goes on behind the
last one and ends with the same bytes. Everything about attacks is in `ftbench.attacking` and the plug-in.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.outputs import Outputs, Stopped

if TYPE_CHECKING:
    import pyarrow as pa

    from ftbench.attacking.contract import Subject
    from ftbench.attacking.victim import ModelVictim
    from ftbench.attacks.base import Attack

SAY_SECONDS = 20.0  # between two lines of progress


class Spec(Strict):
    """What is attacked and how."""

    artifact: str
    labels: list[str]
    max_length: int
    attack: str = Field(description="name in the study")
    use: str = Field(description="the plug-in")
    config: dict[str, Any]
    seed: int
    sets: list[str]
    rows: int | None
    shard: int = 0
    shards: int = 1


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    """Inputs: `evaluation`, the artifact (`base`, `record`, `model`, `start`), `snapshot_NAME` for each model entry
    and `file_KEY` for each local file of the attack. Outputs: `attacks` and `record`."""
    from ftbench import provenance
    from ftbench.tables.store import write_table

    started = provenance.now()
    rows: list[dict[str, Any]] = []
    seconds = 0.0
    if json.loads(inputs["record"].read_text())["status"] == "failed":
        print("the artifact has no weights: nothing to attack", flush=True)
    else:
        sampled = sampled_rows(inputs["evaluation"], spec)
        outcomes, seconds = _attacked(spec, inputs, outputs, sampled)
        rows = [
            _row(spec, eval_set, outcome)
            for eval_set, outcome in zip(sampled.column("eval_set").to_pylist(), outcomes, strict=True)
        ]
    write_table("attacks", rows, outputs["attacks"])
    record = {
        **spec.model_dump(include={"artifact", "attack", "seed", "shard", "shards"}),
        "rows": len(rows),
        "queries": sum(row["queries"] for row in rows),
        "seconds": seconds,
        "config_json": spec.canonical(),
        **provenance.provenance(outputs.source, started),
    }
    outputs["record"].write_text(json.dumps(record, indent=1))


def sampled_rows(file: Path, spec: Spec) -> pa.Table:
    """The evaluation rows of this shard: of every set the same stratified sample for all attacks and artifacts."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.sampling import stratified
    from ftbench.training.seeds import numpy_generator

    evaluation = read_parquet_file(file)
    parts = []
    for name in spec.sets:
        rows = evaluation.filter(compute.equal(evaluation.column("eval_set"), name))
        if rows.num_rows == 0:  # `check` has seen that the task has it
            print(f"the set `{name}` is not available: it is left out", flush=True)
        if spec.rows and spec.rows < rows.num_rows:
            chosen = stratified(rows.column("label").to_pylist(), spec.rows, numpy_generator(0, "attack", name))
            rows = rows.take(chosen)
        parts.append(rows)
    rows = pa.concat_tables(parts)
    return rows.take(np.arange(rows.num_rows)[spec.shard :: spec.shards])


def _attacked(
    spec: Spec, inputs: Mapping[str, Path], outputs: Outputs, sampled: pa.Table
) -> tuple[list[dict[str, Any]], float]:
    """Outcomes of all rows as mappings, in order, and the seconds they took; groups done before are read."""
    from ftbench.attacking.engine import CPU_GROUP, GPU_GROUP, attacked
    from ftbench.training.inference import device
    from ftbench.training.signals import told_to_stop

    place = device()
    together = CPU_GROUP if place.type == "cpu" else GPU_GROUP
    subjects = _subjects(sampled, spec.labels)
    folder = outputs.work / f"groups-{_digest(inputs)}-{together}"
    folder.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    while (file := folder / f"{len(done):06d}.json").is_file():
        done.append(json.loads(file.read_text()))
    print(
        f"{len(subjects)} examples, {sum(len(group['outcomes']) for group in done)} of them attacked before", flush=True
    )
    rest = subjects[len(done) * together :]
    progress = _Progress(len(rest))
    with told_to_stop() as signals:
        clock = time.perf_counter()
        if rest:
            attack, victim = _prepared(spec, inputs)
            for outcomes in attacked(attack, rest, victim, spec.seed, together):
                group: dict[str, Any] = {
                    "outcomes": [asdict(outcome) for outcome in outcomes],
                    "seconds": time.perf_counter() - clock,
                }
                _keep(folder / f"{len(done):06d}.json", group)
                done.append(group)
                clock = time.perf_counter()
                progress.add(group["outcomes"])
                if signals and len(done) * together < len(subjects):
                    raise Stopped(f"{len(done)} groups of examples were attacked; run again to go on")
    return [outcome for group in done for outcome in group["outcomes"]], sum(group["seconds"] for group in done)


def _digest(inputs: Mapping[str, Path]) -> str:
    """Groups of other weights, rows or lists must not be taken for these."""
    import hashlib

    from ftbench.training.weights import file_digest

    digests = []
    for name, given in sorted(inputs.items()):  # a list of words may be a folder
        files = [given] if given.is_file() else sorted(file for file in given.rglob("*") if file.is_file())
        digests += [f"{name} {file.name} {file_digest(file)}" for file in files]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]


def _keep(file: Path, group: Mapping[str, Any]) -> None:
    partial = file.with_name(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(group, ensure_ascii=False))
    os.replace(partial, file)


def _subjects(rows: pa.Table, labels: Sequence[str]) -> list[Subject]:
    from ftbench.attacking.contract import Subject

    columns = (rows.column(name).to_pylist() for name in ("uid", "text_a", "text_b", "label"))
    index = {name: position for position, name in enumerate(labels)}
    return [Subject(uid, first, second, index[label]) for uid, first, second, label in zip(*columns, strict=True)]


def _prepared(spec: Spec, inputs: Mapping[str, Path]) -> tuple[Attack, ModelVictim]:
    """The attack with everything that it reads, and the artifact as its victim."""
    from ftbench.attacking.contract import Resources
    from ftbench.attacking.victim import ModelVictim
    from ftbench.config.strict import validated
    from ftbench.plugins import plugin
    from ftbench.training.artifact import Artifact
    from ftbench.training.inference import device
    from ftbench.training.models import load_tokenizer

    place, snapshot = device(), inputs["base"].parent / "snapshot"
    factory = plugin("attacks", spec.use).factory
    attack: Attack = factory(validated(factory.Config, spec.config, f"attack {spec.attack}", "settings"))
    given = {name.partition("_")[2]: file for name, file in inputs.items() if name.startswith("snapshot_")}
    files = {name.partition("_")[2]: file for name, file in inputs.items() if name.startswith("file_")}
    snapshots = {name: file.parent / "snapshot" for name, file in given.items()}
    tokenizer = load_tokenizer(snapshot)
    if factory.same_tokenizer:
        for name, folder in snapshots.items():
            if load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
                raise FtbenchError(
                    f"attack {spec.attack}: found the model `{name}` with another vocabulary than the victim's; "
                    f"`{spec.use}` exchanges tokens, so both must have the same. Name a model of the same family."
                )
    attack.prepare(Resources(snapshot, snapshots, files, place))
    model = Artifact.of(inputs).model(spec.labels, "classification", tokenizer.pad_token_id).to(place)
    return attack, ModelVictim(model, tokenizer, spec.max_length, place)


def _row(spec: Spec, eval_set: str, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """A row of table `attacks`: labels by name."""
    import hashlib

    named = {key: spec.labels[outcome[key]] if outcome[key] >= 0 else None for key in ("pred_before", "pred_after")}
    settings = json.dumps([spec.use, spec.config], sort_keys=True)
    return {
        **outcome,
        **named,
        "artifact_id": spec.artifact,
        "attack": spec.attack,
        "attack_seed": spec.seed,
        "eval_set": eval_set,
        "attack_config_hash": hashlib.sha256(settings.encode()).hexdigest()[:16],
        "gold": spec.labels[outcome["gold"]],
        "n_changed": len(outcome["changed_positions"]),
    }


class _Progress:
    """A line from time to time: examples done, successes so far, queries, and the time left at this pace."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.success, self.queries = total, 0, 0, 0
        self.began = self.said = time.perf_counter()

    def add(self, outcomes: Sequence[Mapping[str, Any]]) -> None:
        self.done += len(outcomes)
        self.success += sum(outcome["status"] == "success" for outcome in outcomes)
        self.queries += sum(outcome["queries"] for outcome in outcomes)
        now = time.perf_counter()
        if now - self.said >= SAY_SECONDS or self.done == self.total:
            self.said = now
            seconds = now - self.began
            left = seconds * (self.total - self.done) / self.done
            print(
                f"{self.done} of {self.total} examples, {self.success} successes, {self.queries} queries,"
                f" {self.queries / max(seconds, 1e-9):.0f} a second, about {left:.0f} s left",
                flush=True,
            )
