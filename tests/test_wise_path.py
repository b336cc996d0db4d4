"""The line from the model before fine-tuning to the one after it: whose head judges, and how it is drawn."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from configured import STUDY, changed, configured
from pyarrow import parquet
from safetensors.torch import load_file
from test_recipe_stages import about, cook, family, inputs_of

from ftbench.check import study_problems
from ftbench.config.load import load_catalogue, load_study
from ftbench.merging.source import open_ingredient
from ftbench.merging.streaming import mean_rule
from ftbench.plan import Plan
from ftbench.report.damage import wise_lines
from ftbench.soups.judging import PriorHead, judged_sets
from ftbench.soups.opening import laboratory_for
from ftbench.training.models import classifier_with, load_tokenizer, new_classifier
from ftbench.training.weights import plain_state, save_weights

__all__ = ["family"]
PATHS = {"lines": {"over": "seeds", "pairs": 0, "sets": ["test", "prior"]}}


def test_prior_rows_are_judged_by_the_prior_head_on_the_merged_encoder(family: Path, tmp_path: Path) -> None:
    labels = ["a", "b", "c"]
    inputs = inputs_of(family, [0, 1])
    snapshot = inputs["base"].parent / "snapshot"
    before = plain_state(new_classifier(snapshot, labels, "classification", 5))
    before["classifier.weight"] *= 30  # so that outputs differ clearly
    save_weights(before, tmp_path / "prior.safetensors")
    rows = parquet.read_table(family / "evaluation.parquet", filters=[("eval_set", "=", "test")])
    gold = [labels[number % 3] for number in range(rows.num_rows)]
    for name, values in (("eval_set", ["old"] * len(gold)), ("label", gold)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    parquet.write_table(rows, tmp_path / "evaluation.parquet")
    described = {"old": {"role": "prior", "labels": labels, "map": None}}
    (tmp_path / "audit.json").write_text(json.dumps({"sets": described}))
    inputs |= {
        "start": tmp_path / "prior.safetensors", "evaluation": tmp_path / "evaluation.parquet",
        "audit": tmp_path / "audit.json",
    }  # fmt: skip
    prior = PriorHead(kind="classification", labels=labels, shared=False, max_length=8, metric="accuracy")
    spec = SimpleNamespace(**about([0, 1]), path="p", sets=["old"], rows=None, metric="accuracy", prior=prior)
    with ExitStack() as stack:
        sources = {f"runs/s{i}": stack.enter_context(open_ingredient(inputs[f"model{i}"])) for i in range(2)}
        laboratory = laboratory_for(spec, "accuracy", inputs, sources, tmp_path)
        laboratory.fill(laboratory.merger(mean_rule({"runs/s0": 0.25, "runs/s1": 0.75})).tensors())
        (judged,) = judged_sets(spec, inputs)
        found = judged.walked(laboratory)
    runs = [load_file(inputs[f"model{number}"]) for number in range(2)]
    mixed = {name: (0.25 * runs[0][name].double() + 0.75 * runs[1][name].double()).float() for name in runs[0]}
    head = {name: tensor for name, tensor in before.items() if "pooler" in name or "classifier" in name}
    tokenizer = load_tokenizer(snapshot)
    model = classifier_with(snapshot, labels, "classification", {**mixed, **head}, tokenizer.pad_token_id).eval()
    losses, right = [], []
    for text, label in zip(rows.column("text_a").to_pylist(), gold, strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=8)).logits[0]
        rates = logits.double().log_softmax(0)
        losses.append(-float(rates[labels.index(label)]))
        right.append(int(rates.argmax()) == labels.index(label))
    assert (found["role"], found["n"], found["metric"]) == ("prior", len(gold), "accuracy")
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found["score"] == pytest.approx(np.mean(right))


def test_the_recipe_keeps_the_trained_head_unless_told(family: Path, tmp_path: Path) -> None:
    run = load_file(family / "m0.safetensors")
    kept, mixed = (
        cook(family, tmp_path / head, "wise_ft", [0], {"alphas": [0.5], "head": head})[0]
        for head in ("fine_tuned", "interpolated")
    )
    for name, tensor in run.items():
        if "pooler" in name or "classifier" in name:
            assert torch.equal(kept[name], tensor), name
        else:
            assert torch.equal(kept[name], mixed[name]), name
    assert not torch.equal(mixed["classifier.weight"], run["classifier.weight"])


def test_a_path_may_ask_for_the_prior_task_by_name(tmp_path: Path) -> None:
    configured(tmp_path, {**STUDY, "paths": PATHS})
    job = Plan.load("small", tmp_path).job("path", task="reviews", model="tiny", path="lines-vanilla-default")
    assert job.spec.prior.labels == ["people", "place"]
    assert "start" in job.inputs
    without = changed({**STUDY, "paths": PATHS}, "prior", None)
    configured(tmp_path, without)
    found = study_problems(load_study("small", tmp_path), load_catalogue(tmp_path))
    assert any("`prior`, which is no labelled set of the task" in line for line in found)


def test_the_figure_has_a_point_for_every_position_with_both_scores() -> None:
    def row(position: float, role: str, score: float | None, name: str = "x") -> dict[str, Any]:
        return {"path_id": "p", "position": position, "role": role, "score": score, "eval_set": name}

    rows = [row(1.0, "id", 0.9), row(1.0, "prior", 0.4), row(0.0, "id", 0.5), row(0.0, "id", 0.7, "y"),
            row(0.0, "prior", 0.8), row(0.5, "id", 0.6), row(0.5, "prior", None), row(0.0, "ood", 0.1)]  # fmt: skip
    assert wise_lines(rows) == {"p": [(pytest.approx(0.6), 0.8), (0.9, 0.4)]}
