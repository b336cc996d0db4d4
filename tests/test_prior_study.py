"""Prior tasks in a study: which jobs depend on the prior samples, what is refused, and a run that rehearses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from configured import DATASETS, STUDY, changed, configured
from data_stages import cut, fetched, prepared, rows
from prior_rows import LABELS, Materials, prior_rows
from pyarrow import parquet

from ftbench.check import study_problems
from ftbench.config.load import load_catalogue, load_study
from ftbench.plan import Plan
from ftbench.stage import execute
from ftbench.tables.store import checked

REHEARSING = {"vanilla": {}, "rehearsal": {}, "rehearsal_off": {"use": ["rehearsal"], "settings": {"sampler": "none"}}}


def planned(root: Path, study: dict[str, Any]) -> dict[str, Any]:
    """The fine-tuning job of each method, seed 0."""
    configured(root, study)
    plan = Plan(load_study("small", root), load_catalogue(root))
    return {
        method: plan.job("finetune", task="reviews", model="tiny", method=method, variant="default", seed="0")
        for method in study["methods"]
    }


def test_only_runs_that_rehearse_depend_on_the_prior_samples(tmp_path: Path) -> None:
    jobs = planned(tmp_path, {**STUDY, "methods": REHEARSING})
    for method, job in jobs.items():
        assert ("samples" in job.inputs) == ("prior_rows" in job.inputs) == (method == "rehearsal"), method
        assert (job.spec.prior is not None) == (method == "rehearsal")
    before = {method: (job.spec.canonical(), job.inputs) for method, job in jobs.items()}
    clusters = changed({**STUDY, "methods": REHEARSING}, "prior.tolerance", 0.2)
    for method, job in planned(tmp_path, clusters).items():
        assert (job.spec.canonical(), job.inputs) == before[method], method


def problems(root: Path, study: dict[str, Any]) -> str:
    configured(root, study)
    return "\n".join(study_problems(load_study("small", root), load_catalogue(root)))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("prior", None, "`rehearsal` in a study without `prior`"),
        ("prior.evaluation", "pool", "the pool itself"),
        ("prior.head", "shared", "the same labels in the same order"),
        ("methods.rehearsal", {"use": ["rehearsal", "der"]}, "a second method that rehearses"),
        ("methods.rehearsal", {"settings": {"sampler": "mixcd"}}, "mix_cd"),
        ("methods.rehearsal", {"use": ["flow"], "settings": {"head": "verbaliser"}}, "a word for each label"),
        ("methods.rehearsal", {"use": ["flow"], "settings": {"level": "token"}}, "under which a text has one loss"),
        ("methods.rehearsal", {"use": ["flow", "focal"]}, "own the criterion"),
    ],
)
def test_a_study_that_cannot_work_is_refused_with_key_and_reason(
    tmp_path: Path, path: str, value: Any, expected: str
) -> None:
    assert expected in problems(tmp_path, changed({**STUDY, "methods": REHEARSING}, path, value))


def test_a_shared_head_with_equal_labels_has_no_problem(tmp_path: Path) -> None:
    study = changed(STUDY, "prior", {"dataset": "reviews", "pool": "train", "evaluation": "test", "head": "shared"})
    assert DATASETS["reviews"]["labels"]
    assert problems(tmp_path, study) == ""


def stocked(folder: Path, kind: str, **more: Any) -> Materials:
    """Training rows with two labels beside a prior task of some kind, and its samples."""
    materials = Materials(folder, prior_rows(80, 10, kind=kind), kind)
    task = folder / "task"
    prepared(fetched(task, {"train": rows(60, text="w1 w2")}))
    cut(task, select={"rows": 12})
    table = materials.run(**more)
    assert table.num_rows == 90
    return materials


@pytest.fixture
def kitchen(tmp_path: Path) -> Materials:
    """A prior task with three labels."""
    return stocked(tmp_path, "classification")


def finetuned(materials: Materials, method: str, **config: Any) -> dict[str, Any]:
    folder = materials.folder
    spec = {
        "study": "s", "task": "t", "model": "tiny", "method": method, "variant": "default", "seed": 0,
        "methods": [{"name": method, "config": config}], "kind": "classification",
        "labels": ["negative", "positive"], "select_metric": "accuracy", "init": "shared",
        "training": {"steps": 6, "batch_size": 8, "max_length": 16, "precision": "fp32"},
        "prior": {"name": "prior", "kind": materials.kind, "labels": materials.labels, "shared": False,
                  "max_length": 16, "width": 0.3 if materials.kind == "regression" else None},
    }  # fmt: skip
    inputs = {
        "train": folder / "task/train.parquet", "select": folder / "task/select.parquet", "base": folder / "base.json",
        "start": folder / "start.safetensors", "samples": folder / "samples.parquet",
        "prior_rows": folder / "prepared.parquet",
    }  # fmt: skip
    outputs = {name: folder / method / name for name in ("model", "log", "record")}
    execute("finetune", spec, inputs, outputs, folder / "work", "s")
    record: dict[str, Any] = json.loads(outputs["record"].read_text())
    return record


def test_a_run_rehearses_from_the_files_of_the_graph_and_records_what_it_did(kitchen: Materials) -> None:
    record = finetuned(kitchen, "rehearsal", ratio=0.5, trace_every=3, bins="loss_x_aux", aux="domain", pool="all")
    assert (record["rehearsed_rows"], record["prior_head"], record["forward_rows_extra"]) == (48, "frozen", 0)
    assert record["rehearsed_tokens"] > 48
    assert {row["step"] for row in record["rehearsal_trace"]} == {3, 6}
    assert all(row["bin"].startswith(("even", "odd")) for row in record["rehearsal_trace"])
    identity = {"run_id": "r", "study": "s", "task": "t", "model": "m", "method": "x", "variant": "v", "seed": 0}
    checked("rehearsal_trace", [{**identity, **row} for row in record["rehearsal_trace"]], Path("trace"))


def test_the_fisher_information_and_the_former_logits_come_from_the_same_files(kitchen: Materials) -> None:
    assert finetuned(kitchen, "der", ratio=0.5)["rehearsed_rows"] == 48
    assert finetuned(kitchen, "ewc", rows=5)["status"] in ("success", "collapsed")


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("rehearsal", {"ratio": 0.5, "pool": "all", "trace_every": 3}),
        ("rehearsal", {"ratio": 0.5, "pool": "all", "sampler": "mir", "candidates": 8}),
        ("der", {"ratio": 0.5}),
        ("ewc", {"rows": 5}),
        ("dba", {"rows": 8}),
    ],
)
def test_a_prior_regression_is_rehearsed_and_anchored(tmp_path: Path, method: str, config: dict[str, Any]) -> None:
    record = finetuned(stocked(tmp_path, "regression", width=0.3), method, **config)
    assert record["status"] in ("success", "collapsed")
    if "ratio" in config:
        assert record["rehearsed_rows"] == 48
        assert record["charged_rows"] == 48 + 48 + record["forward_rows_extra"] / 3
        assert (record["forward_rows_extra"] > 0) == (config.get("sampler") == "mir")


def test_a_score_is_damaged_outside_the_tolerance() -> None:
    import numpy as np
    import torch

    from ftbench.training.batches import Batch
    from ftbench.training.examples import Examples
    from ftbench.training.prior_task import PriorTask

    nothing = np.zeros(0)
    prior = PriorTask("regression", Examples([], [], None, None), lambda _: None, nothing, nothing, {}, width=0.2)
    batch = Batch({}, torch.tensor([0.6, 0.6, 0.6]), np.arange(3))
    logits = torch.tensor([[0.45], [0.9], [0.1]])
    assert prior.wrong(logits, batch).tolist() == [False, True, True]
    assert prior.row_losses(logits, batch).tolist() == pytest.approx([0.0225, 0.09, 0.25])


def test_samples_of_rows_that_are_not_there_are_refused(kitchen: Materials) -> None:
    from ftbench.config.errors import FtbenchError

    table = parquet.read_table(kitchen.folder / "prepared.parquet")
    kitchen.write(table.set_column(1, "uid", pa.array([f"x{number}" for number in range(table.num_rows)])))
    with pytest.raises(FtbenchError, match="80 samples whose text is not in"):
        finetuned(kitchen, "rehearsal", ratio=0.5)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["A", "b", "c"], None),
        (["b", "a", "c"], "by name and in this order"),
        (None, "no trained head"),
    ],
)
def test_a_checkpoint_with_a_head_is_taken_as_it_is_only_if_its_labels_are_these(
    tmp_path: Path, names: list[str] | None, expected: str | None
) -> None:
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    from ftbench.config.errors import FtbenchError
    from ftbench.training.weights import load_weights

    materials = Materials(tmp_path, prior_rows(20, 5))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = BertConfig(vocab_size=45, max_position_embeddings=32, num_labels=3, **sizes)
    config.id2label = dict(enumerate(names or LABELS))
    torch.manual_seed(5)
    model = (BertForSequenceClassification if names else BertForMaskedLM)(config)
    model.save_pretrained(tmp_path / "snapshot")
    spec = {
        "prior": "prior", "model": "tiny", "kind": "classification", "labels": LABELS, "pool": "pool", "rows": None,
        "trained": "checkpoint", "training": {},
    }  # fmt: skip
    outputs = {"model": tmp_path / "up.safetensors", "record": tmp_path / "up.json"}
    if expected:
        with pytest.raises(FtbenchError, match=expected):
            execute("upstream", spec, materials.inputs, outputs, tmp_path / "work", "s")
        return
    execute("upstream", spec, materials.inputs, outputs, tmp_path / "work", "s")
    for name, tensor in load_weights(outputs["model"]).items():
        assert torch.equal(tensor, model.state_dict()[name]), name
