"""`ftbench export`: one artifact as a folder that transformers loads without this package.

Runs, soups and adapters that merge exactly become plain weights; other adapters are refused with their reason,
because no library would compute from such a folder what was trained here.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftbench import matrix
from ftbench.config.errors import FtbenchError, nearest
from ftbench.config.load import LoadedStudy, load_catalogue, load_study
from ftbench.paths import StudyPaths, study_paths


@dataclass(frozen=True)
class Place:
    """Where an artifact's files are."""

    artifact: str
    model: str
    task: str
    record: Path
    weights: Path


def export(reference: str, folder: Path, study: str, root: Path = Path()) -> list[str]:
    """Write the artifact to `folder`, which must not be there or be empty; gives lines that say what was done."""
    loaded = load_study(study, root)
    paths = study_paths(loaded.name)
    place = _place(reference, loaded, paths)
    record = _record(place)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FtbenchError(f"{folder}: found files there; expected a new folder. Name another, or remove it.")
    from ftbench.training.artifact import Artifact
    from ftbench.training.models import classifier_with, load_tokenizer

    kind, labels, longest = _space(record)
    prior = loaded.study.prior
    if prior and load_catalogue(root).dataset(prior.dataset).kind == "text":
        prior = None  # of plain text there is no training before the run
    start = paths.path("upstream_model", prior=prior.name, model=place.model) if prior else None
    inputs = {"base": paths.path("base", model=place.model), "model": place.weights, "record": place.record}
    artifact = Artifact.of(inputs | ({"start": start} if start else {}))
    tokenizer = load_tokenizer(artifact.snapshot)
    weights = artifact.plain_weights(labels, kind, tokenizer.pad_token_id)
    model: Any = classifier_with(artifact.snapshot, labels, kind, weights, tokenizer.pad_token_id)
    model.config._name_or_path = ""  # a path of this machine
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        settings = {
            "kind": kind, "labels": labels, "max_length": longest, "merged": artifact.form == "adapter",
            "pair": _pairs(paths, place),
        }  # fmt: skip
        from ftbench.report.card import model_card

        text = model_card(place.artifact, record, _scores(paths, place), _base(paths, place.model, root), settings)
        (partial / "README.md").write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    told = {"model": "weights as trained", "adapter": "adapter merged into the weights",
            "difference": "changed entries put into the base model's weights"}  # fmt: skip
    return [f"written: {folder} ({told[artifact.form]})",
            f"load it: AutoModelForSequenceClassification.from_pretrained({str(folder)!r})"]  # fmt: skip


def _place(reference: str, loaded: LoadedStudy, paths: StudyPaths) -> Place:
    wanted = reference.removeprefix(f"{paths.root}/").rstrip("/")
    known: dict[str, Place] = {}
    for run in matrix.runs(loaded.study):
        files = (paths.path(name, **run.__dict__) for name in ("run", "run_model"))
        known[run.artifact] = Place(run.artifact, run.model, run.task, *files)
    for soup in matrix.soups(loaded.study):
        wildcards = {"task": soup.task, "model": soup.model, "soup": soup.name}
        files = (paths.path(name, **wildcards) for name in ("recipe", "soup_model"))
        known[soup.artifact] = Place(soup.artifact, soup.model, soup.task, *files)
    if wanted not in known:
        kinds = "the id of a run (`runs/...`) or a soup (`soups/...`)"
        raise FtbenchError(f"study {loaded.name}: found no artifact `{wanted}`; expected {kinds}. "
                           f"{nearest(wanted, known)}")  # fmt: skip
    return known[wanted]


def _record(place: Place) -> dict[str, Any]:
    if not place.record.is_file():
        raise FtbenchError(f"{place.record}: the artifact is not there yet; run the study first")
    record: dict[str, Any] = json.loads(place.record.read_text(encoding="utf-8"))
    if record["status"] == "failed":
        raise FtbenchError(f"{place.artifact} has no weights to export: {record['error']}")
    return record


def _space(record: dict[str, Any]) -> tuple[str, list[str], int]:
    """Kind of the task, labels in the order of the logits, longest input in tokens."""
    content = json.loads(record["config_json"])
    longest = content.get("max_length") or content["training"]["max_length"]
    return content["kind"], list(content["labels"]), int(longest)


def _pairs(paths: StudyPaths, place: Place) -> bool:
    """Whether the task's inputs are pairs of texts."""
    from ftbench.data.parquet import read_parquet_file

    file = paths.path("select", task=place.task)
    if not file.is_file():
        return False
    return bool(read_parquet_file(file).column("text_b").null_count == 0)


def _scores(paths: StudyPaths, place: Place) -> list[dict[str, Any]]:
    from ftbench.tables.store import read_table

    file = paths.path("metrics", artifact=place.artifact)
    if not file.is_file():
        return []
    rows: list[dict[str, Any]] = read_table("metrics", file).to_pylist()
    order = ("id", "ood", "stress", "prior", "select")
    return sorted(rows, key=lambda row: (order.index(row["role"]) if row["role"] in order else 9, row["eval_set"]))


def _base(paths: StudyPaths, model: str, root: Path) -> dict[str, Any]:
    content = json.loads(paths.path("base", model=model).read_text(encoding="utf-8"))
    entry = load_catalogue(root).model(model)
    return {
        "title": entry.title or model,
        "licence": entry.licence,
        "repository": content.get("repository"),
        "revision": content.get("revision"),
    }
