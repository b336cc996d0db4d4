"""A small results folder made by hand, put through the last stages of the graph; used by tests of those."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ftbench import matrix
from ftbench.config.study import Study
from ftbench.paths import COLLECTED, COMPARED, PAGES, StudyPaths
from ftbench.report.results import TABLES, Results, load
from ftbench.stage import execute
from ftbench.tables.store import read_table, write_table

LABELS = ["no", "yes"]
# the model's own order differs from the set's: a swap by position would turn 0.9 into 0.1
SETS = {
    "test": {"role": "id", "kind": "classification", "labels": ["yes", "no"], "map": None},
    "far": {"role": "ood", "kind": "classification", "labels": LABELS, "map": None},
    "farther": {"role": "ood", "kind": "classification", "labels": LABELS, "map": None},
    "old": {"role": "prior", "kind": "classification", "labels": ["a", "b", "c"], "map": None},
}
SELECT = {"role": "select", "kind": "classification", "labels": LABELS, "map": None}
SKILL = {"plain": 0.8, "better": 0.9, "base": 0.85}
SEEDS = 6


def small_study(**changes: Any) -> Study:
    content = {
        "title": "A <small> study & more",
        "seeds": list(range(SEEDS)),
        "init": "shared",
        "models": ["tiny"],
        "tasks": {
            "reviews": {
                "train": {"dataset": "reviews"},
                "evaluate": {
                    "farther": {"dataset": "far", "role": "ood"},
                    "far": {"dataset": "far", "role": "ood"},
                    "test": {"dataset": "reviews", "role": "id"},
                },
            }
        },
        "methods": {"plain": None, "better": {"variants": {"a": {}, "b": {}}}},
        "baseline": "plain",
        "prior": {"name": "old", "dataset": "old"},
        "soups": {"uniform": {"recipe": "uniform"}},
        "statistics": {"resamples": 1000},
    }
    return Study.model_validate({**content, **changes})


def predictions_of(artifact: str, kind: str, method: str, seed: int) -> list[dict[str, Any]]:
    """Rows whose accuracy on each set is near the method's skill; 200 rows a set."""
    generator = np.random.default_rng([seed, len(artifact)])
    rows = []
    for name, about in {**SETS, "select": SELECT}.items():
        if kind == "base" and about["role"] != "prior":
            continue
        head = ["a", "b", "c"] if about["role"] == "prior" else LABELS
        loss = {"id": 0.0, "ood": 0.2, "prior": 0.1, "select": 0.0}[str(about["role"])] * (kind != "base")
        for number in range(200):
            gold = int(generator.integers(len(head)))
            right = generator.random() < SKILL[method] - loss
            pred = gold if right else (gold + 1) % len(head)
            logits = (2.0 * np.eye(len(head))[pred] + generator.random(len(head))).tolist()
            rows.append(
                {
                    "artifact_id": artifact,
                    "eval_set": name,
                    "role": about["role"],
                    "uid": f"{name}{number}",
                    "gold": head[gold],
                    "pred": head[pred],
                    "logits": logits,
                }
            )
    return rows


def score_outputs(folder: Path) -> dict[str, Path]:
    """The outputs of the stage `score` in a folder."""
    return {name: folder / f"{name}.parquet" for name in ("calibration", "metrics")}


class Folder:
    """A results folder that is filled by hand and put through the last stages of the graph."""

    def __init__(self, root: Path, study: Study) -> None:
        self.study, self.places, self.root = study, StudyPaths(root / "results" / "demo"), root

    def write(self, file: Path, content: Mapping[str, Any]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))

    def stage(self, name: str, spec: Mapping[str, Any], inputs: dict[str, Path], outputs: dict[str, Path]) -> None:
        execute(name, spec, inputs, outputs, self.places.work, "source")

    def fill(self) -> None:
        self.write(self.places.path("audit", task="reviews"), {"labels": LABELS, "sets": {**SETS, "select": SELECT}})
        overlap = [
            {"task": "reviews", "eval_set": name, "role": about["role"], "train_rows": 500, "eval_rows": 200,
             "exact_rows": 2, "exact_share": 0.01}
            for name, about in SETS.items()
        ]  # fmt: skip
        write_table("overlap", overlap, self.places.path("overlap", task="reviews"))
        similarity = [
            {"task": "reviews", "eval_set": name, "role": about["role"], "encoder": "tiny", "embedded_rows": 200,
             "distinct_rows": 200, "centroid_cosine": 0.9, "domain_auroc": 0.8}
            for name, about in SETS.items()
        ]  # fmt: skip
        write_table("similarity", similarity, self.places.path("similarity", task="reviews"))
        for run in matrix.runs(self.study):
            record = {
                "run_id": run.artifact, "study": "demo", **run.__dict__, "status": "success", "error": None,
                "train_seconds": 2.0 + run.seed, "examples_per_second": 100.0, "trainable_parameters": 1000,
                "charged_rows": 1000.0 + 10 * run.seed, "total_parameters": 4000, "checkpoint_bytes": 2**21,
                "versions": {"torch": "2"}, "git_dirty": False, "git_commit": "0123456789abcdef", "device": "a CPU",
                "started_at": "2025-01-01T00:00:00+00:00",
                "labels": LABELS, "a_later_key": 1,
            }  # fmt: skip
            self.write(self.places.path("run", **run.__dict__), record)
            self.predict_and_score(run.artifact, "run", run.method, run.variant, run.seed)
        for soup in matrix.soups(self.study):
            identity = {key: getattr(soup, key) for key in ("task", "model", "method", "variant", "family")}
            record = {
                "soup_id": soup.artifact, "study": "demo", **identity, "recipe": "uniform",
                "status": "success",
                "n_candidates": SEEDS, "n_ingredients": SEEDS,
                "select_metric": "accuracy", "select_score": 0.9,
                "best_single_run_id": soup.ingredients[0].artifact, "best_single_score": 0.89,
                "ingredients": [
                    {"position": number, "run_id": run.artifact, "weight": 1 / SEEDS,
                     "candidate_rank": number,
                     "trial_score": None, "accepted": True}
                    for number, run in enumerate(soup.ingredients)
                ],
            }  # fmt: skip
            self.write(self.places.path("recipe", task=soup.task, model=soup.model, soup=soup.name), record)
            self.predict_and_score(soup.artifact, "soup", soup.method, soup.variant, None)
        for base in matrix.bases(self.study):
            self.predict_and_score(base.artifact, "base", None, None, None)

    def predict_and_score(
        self,
        artifact: str,
        kind: str,
        method: str | None,
        variant: str | None,
        seed: int | None,
        empty: bool = False,
    ) -> None:
        file = self.places.path("predictions", artifact=artifact)
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [] if empty else predictions_of(artifact, kind, method or "base", seed or 0)
        write_table("predictions", rows, file, {"labels": LABELS, "prior_labels": ["a", "b", "c"]})
        spec = {
            "artifact": artifact, "study": "demo", "task": "reviews", "model": "tiny", "artifact_kind": kind,
            "method": method, "variant": variant, "seed": seed, "resamples": 50,
        }  # fmt: skip
        inputs = {"predictions": file, "audit": self.places.path("audit", task="reviews")}
        self.stage("score", spec, inputs, score_outputs(self.places.path("metrics", artifact=artifact).parent))

    def table(self, name: str) -> Path:
        return self.places.path("tables", table=name)

    def rows(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read_table(name, self.table(name)).to_pylist()
        return found

    def finish(self) -> Results:
        """Run collect, compare and report; the results as the report reads them."""
        spec = {"study": "demo", "resolved": json.loads(self.study.canonical())}
        collected = {name: self.table(name) for name in COLLECTED}
        self.stage("collect", spec, {"results": self.places.root}, collected)
        compared = {name: self.table(name) for name in COMPARED}
        inputs = {
            **{name: self.table(name) for name in ("runs", "metrics", "forgetting", "overlap", "similarity")},
            **{name: self.table(name) for name in ("attacks", "attack_scores")},
            "results": self.places.root,
        }
        self.stage("compare", spec, inputs, compared)
        inputs = {**{name: self.table(name) for name in TABLES}, "results": self.places.root}
        self.stage("report", spec, inputs, {page: self.places.path("report", page=page) for page in PAGES})
        return load("demo", self.study, inputs)

    def page(self, name: str) -> str:
        return self.places.path("report", page=name).read_text(encoding="utf-8")


def value(folder: Folder, artifact: str, eval_set: str, metric: str) -> dict[str, Any]:
    wanted = (artifact, eval_set, metric)
    return next(row for row in folder.rows("metrics") if (row["artifact_id"], row["eval_set"], row["metric"]) == wanted)
