"""A base model, weights after a prior task and rows, with the stages behind `audit` run on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from data_stages import NAMES, audited, cut, fetched, prepared, rows
from pyarrow import parquet
from safetensors.torch import save_file
from test_soup_stage import snapshot

from ftbench.stage import execute
from ftbench.stages import audit

LABELS, PRIOR = list(NAMES), ["a", "b", "c"]


def make_bench(folder: Path) -> Path:
    """A base model, weights after a prior task, and rows: everything that the stages behind `audit` read."""
    from ftbench.training.models import new_classifier
    from ftbench.training.weights import plain_state

    labelled = {"train": rows(60), "test": rows(20, text="number text")}
    prepared(fetched(folder, labelled))
    cut(folder, select={"rows": 20})
    prior = folder / "prior"
    fetched(prior, {"pool": rows(9, PRIOR), "evaluation": rows(12, PRIOR, text="number")})
    prepared(prior, labels={name: name for name in PRIOR})
    shared: dict[str, Any] = {"kind": "classification", "dataset": "reviews"}
    sets = {
        "test": audit.SetSpec(**shared, split="test", role="id", labels=LABELS),
        "before": audit.SetSpec(kind="classification", dataset="prior", split="evaluation", role="prior", labels=PRIOR),
    }
    files = {"reviews": folder / "prepared.parquet", "prior": prior / "prepared.parquet"}
    audited(folder, sets, files, prior_labels=PRIOR, prior_pool="pool")
    base = snapshot(folder / "snapshot")
    (folder / "base.json").write_text("{}")
    upstream = plain_state(new_classifier(base, PRIOR, "classification", 5))
    # far from the snapshot, so that a run which forgot its start would predict something else
    save_file({name: tensor * 1.5 for name, tensor in upstream.items()}, folder / "start.safetensors")
    return folder


def finetuned(
    bench: Path, place: Path, method: str, seed: int = 0, beside: dict[str, Any] | None = None, **settings: Any
) -> dict[str, Any]:
    """Stage `finetune`; gives its record. `beside`: more methods of the run with their settings."""
    plugs = {method: settings, **(beside or {})}
    spec = {
        "study": "small", "task": "reviews", "model": "tiny", "method": method, "variant": "default", "seed": seed,
        "methods": [{"name": name, "config": config} for name, config in plugs.items()],
        "kind": "classification", "labels": LABELS,
        "select_metric": "accuracy", "init": "shared",
        "training": {"steps": 12, "batch_size": 8, "learning_rate": 0.05, "max_length": 8, "precision": "fp32"},
    }  # fmt: skip
    inputs = {"base": "base.json", "train": "train.parquet", "select": "select.parquet", "start": "start.safetensors"}
    outputs = {"model": place / "model.safetensors", "log": place / "train.parquet", "record": place / "run.json"}
    execute("finetune", spec, {key: bench / name for key, name in inputs.items()}, outputs, place / ".work", "source")
    content: dict[str, Any] = json.loads(outputs["record"].read_text())
    return content


def predicted(bench: Path, place: Path, kind: str = "run") -> dict[str, np.ndarray]:
    """Stage `predict`: logits by evaluation set."""
    record = place / ("run.json" if kind == "run" else "recipe.json")
    spec = {
        "artifact": "runs/x", "artifact_kind": kind, "kind": "classification", "labels": LABELS,
        "prior_kind": "classification", "prior_labels": PRIOR, "max_length": 8, "precision": "fp32",
    }  # fmt: skip
    inputs = {"evaluation": "evaluation.parquet", "audit": "audit.json", "base": "base.json"}
    given = {key: bench / name for key, name in inputs.items()} | {"start": bench / "start.safetensors"}
    given |= {"record": record, "model": place / "model.safetensors"}
    execute("predict", spec, given, {"predictions": place / "predictions.parquet"}, place / ".work", "source")
    table = parquet.read_table(place / "predictions.parquet").to_pandas()
    return {name: np.stack(part["logits"].to_list()) for name, part in table.groupby("eval_set")}


def averaged(bench: Path, places: list[Path], out: Path, **more: Any) -> dict[str, Any]:
    """Stage `soup`, uniform unless told, over runs; gives its record."""
    spec = {
        "study": "small", "task": "reviews", "model": "tiny", "method": "lora", "variant": "default",
        "family": "mine", "artifact": "soups/x", "recipe": "uniform", "config": {}, "kind": "classification",
        "ingredients": [f"runs/reviews/tiny/x/default/s{number}" for number, _ in enumerate(places)],
        "labels": LABELS, "select_metric": "accuracy", "max_length": 8, **more,
    }  # fmt: skip
    inputs = {"base": "base.json", "select": "select.parquet", "start": "start.safetensors"}
    given = {key: bench / name for key, name in inputs.items()}
    for position, place in enumerate(places):
        content = json.loads((place / "run.json").read_text())
        record = {**content, "status": "success", "run_id": spec["ingredients"][position]}  # whatever it has learnt
        (place / "success.json").write_text(json.dumps(record))
        given |= {f"record{position}": place / "success.json", f"model{position}": place / "model.safetensors"}
    outputs = {"model": out / "model.safetensors", "card": out / "README.md", "record": out / "recipe.json"}
    execute("soup", spec, given, outputs, out / ".work", "source")
    content = json.loads(outputs["record"].read_text())
    return dict(content)
