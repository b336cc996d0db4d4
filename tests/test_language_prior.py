"""A prior task of plain text: what a language model is asked, what is rehearsed, and what is forgotten of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from configured import STUDY, changed, configured
from data_stages import cut, fetched, prepared, rows
from prior_rows import Materials, prior_rows

from ftbench.check import study_problems
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.metrics.base import Predictions
from ftbench.plan import Plan
from ftbench.plugins import plugin
from ftbench.stage import execute
from ftbench.tables.store import read_table
from ftbench.training.batches import Batch
from ftbench.training.models import language_model, load_tokenizer
from ftbench.training.token_statistics import IGNORED, Question, hidden_positions, word_losses

TEXT = {"dataset": "corpus", "objective": "masked", "trained": "checkpoint", "pool": "train", "evaluation": "held_out"}


def corpus_study(root: Path, **prior: Any) -> Path:
    from configured import DATASETS

    datasets = changed(DATASETS, "corpus.splits", {"train": {}, "held_out": {}})
    study = {**STUDY, "methods": {"vanilla": {}, "rehearsal": {}}, "prior": {**TEXT, **prior}}
    return configured(root, study, datasets)


def test_a_study_with_a_prior_text_needs_no_training_before_the_runs(tmp_path: Path) -> None:
    corpus_study(tmp_path)
    plan = Plan.load("small", tmp_path)
    jobs = list(plan.jobs())
    assert "upstream" not in {job.stage for job in jobs}
    assert not [job.cell for job in jobs if "start" in job.inputs]
    samples = next(job for job in jobs if job.stage == "pretrain_samples")
    assert (samples.spec.kind, set(samples.inputs)) == ("masked", {"base", "prepared"})


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ({"objective": None}, "`prior.objective: masked` or `causal`"),
        ({"trained": "graph"}, "text is what the base model has learnt"),
        ({"clusters": 5}, "`prior.clusters`"),
        ({"dataset": "topics", "pool": "pool", "evaluation": "evaluation"}, "a set with labels"),
    ],
)
def test_a_prior_text_that_cannot_be_read_is_refused(tmp_path: Path, prior: dict[str, Any], expected: str) -> None:
    corpus_study(tmp_path, **prior)
    assert expected in "\n".join(study_problems(load_study("small", tmp_path), load_catalogue(tmp_path)))


def test_virtual_tokens_do_not_go_with_a_prior_text(tmp_path: Path) -> None:
    from configured import DATASETS

    datasets = changed(DATASETS, "corpus.splits", {"train": {}, "held_out": {}})
    study = {**STUDY, "methods": {"vanilla": {}, "prompt_tuning": {}}, "prior": TEXT, "soups": {}}
    configured(tmp_path, study, datasets)
    lines = study_problems(load_study("small", tmp_path), load_catalogue(tmp_path))
    assert [line for line in lines if "`prompt_tuning` adds positions" in line] == lines


@pytest.fixture
def kitchen(tmp_path: Path) -> Materials:
    """Labelled training rows beside plain text that a masked model is asked about, and its samples."""
    materials = Materials(tmp_path, prior_rows(60, 30, kind="text"), "masked")
    task = tmp_path / "task"
    prepared(fetched(task, {"train": rows(60, text="w1 w2")}))
    cut(task, select={"rows": 12})
    materials.run(words=0.5)
    return materials


def finetuned(materials: Materials, method: str, **config: Any) -> dict[str, Any]:
    folder = materials.folder
    spec = {
        "study": "s", "task": "t", "model": "tiny", "method": method, "variant": "default", "seed": 0,
        "methods": [{"name": method, "config": config}], "kind": "classification",
        "labels": ["negative", "positive"], "select_metric": "accuracy", "init": "shared",
        "training": {"steps": 6, "batch_size": 8, "max_length": 16, "precision": "fp32", "learning_rate": 0.05},
        "prior": {"name": "prior", "kind": "masked", "labels": [], "shared": False, "max_length": 16, "words": 0.5},
    }  # fmt: skip
    inputs = {
        "train": folder / "task/train.parquet", "select": folder / "task/select.parquet", "base": folder / "base.json",
        "samples": folder / "samples.parquet", "prior_rows": folder / "prepared.parquet",
    }  # fmt: skip
    outputs = {name: folder / method / name for name in ("model", "log", "record")}
    execute("finetune", spec, inputs, outputs, folder / "work", "s")
    record: dict[str, Any] = json.loads(outputs["record"].read_text())
    return record


def predicted(materials: Materials, method: str | None) -> list[dict[str, Any]]:
    """Predictions of a run, or of the base model, on the text that is only evaluated."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    folder = materials.folder
    held = parquet.read_table(folder / "prepared.parquet")
    held = held.filter(compute.equal(held.column("split"), "evaluation")).drop_columns(["split"])
    for name, value in (("eval_set", "prior"), ("role", "prior")):
        held = held.append_column(name, pa.array([value] * held.num_rows))
    parquet.write_table(held, folder / "evaluation.parquet")
    (folder / "audit.json").write_text(json.dumps({"sets": {"prior": {"role": "prior", "kind": "text", "labels": []}}}))
    spec = {
        "artifact": method or "base", "artifact_kind": "run" if method else "base", "kind": "classification",
        "labels": ["negative", "positive"], "prior_kind": "masked", "prior_labels": [], "prior_words": 0.5,
        "prior_max_length": 16, "max_length": 16, "precision": "fp32",
    }  # fmt: skip
    inputs = {"evaluation": folder / "evaluation.parquet", "audit": folder / "audit.json", "base": folder / "base.json"}
    if method:
        inputs |= {"record": folder / method / "record", "model": folder / method / "model"}
    target = folder / f"predictions-{method}.parquet"
    execute("predict", spec, inputs, {"predictions": target}, folder / "work", "s")
    found: list[dict[str, Any]] = read_table("predictions", target).to_pylist()
    return found


def test_text_is_rehearsed_and_the_run_is_judged_by_the_language_head_on_its_encoder(kitchen: Materials) -> None:
    from safetensors.torch import load_file

    record = finetuned(kitchen, "rehearsal", ratio=0.5, pool="all", trace_every=3)
    assert (record["rehearsed_rows"], record["prior_head"]) == (48, "frozen")
    before = {row["uid"]: row for row in predicted(kitchen, None)}
    samples = read_table("pretrain_samples", kitchen.folder / "samples.parquet").to_pylist()
    known = {row["uid"]: row for row in samples if row["role"] == "prior_eval"}
    assert known.keys() == before.keys()
    for uid, row in before.items():
        assert row["loss"] == pytest.approx(known[uid]["prior_loss"], rel=1e-4)
        assert (row["pred_value"] >= row["gold_value"] - 1e-9) == known[uid]["prior_correct"]
    # by hand: the base language model with the run's embeddings and blocks, word vectors tied
    model = language_model(kitchen.folder / "snapshot", "masked").eval()
    trained = {name: tensor for name, tensor in load_file(kitchen.folder / "rehearsal/model").items()
               if name.startswith("bert.") and "pooler" not in name}  # fmt: skip
    model.load_state_dict(trained, strict=False)
    tokenizer = load_tokenizer(kitchen.folder / "snapshot")
    from pyarrow import parquet

    texts = parquet.read_table(kitchen.folder / "evaluation.parquet").to_pydict()
    after = {row["uid"]: row for row in predicted(kitchen, "rehearsal")}
    for uid, text in list(zip(texts["uid"], texts["text_a"], strict=True))[:6]:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        places = hidden_positions(ids[0].numpy(), set(tokenizer.all_special_ids), uid)
        masked = ids.clone()
        masked[0, places] = tokenizer.mask_token_id
        rates = model(input_ids=masked).logits[0, places].log_softmax(-1)
        expected = -float(rates.gather(1, ids[0, places][:, None]).mean().detach())
        assert after[uid]["loss"] == pytest.approx(expected, rel=1e-4)
        assert after[uid]["loss"] != pytest.approx(before[uid]["loss"], rel=1e-3)


def test_rehearsed_text_loses_less_than_text_that_is_left_alone(kitchen: Materials) -> None:
    finetuned(kitchen, "vanilla")
    finetuned(kitchen, "rehearsal", ratio=0.75, pool="all")
    plain, kept = (np.mean([row["loss"] for row in predicted(kitchen, name)]) for name in ("vanilla", "rehearsal"))
    assert kept < plain


@pytest.mark.parametrize(("method", "config"), [("ewc", {"rows": 5}), ("dba", {"rows": 8, "batch_size": 4})])
def test_anchors_on_a_prior_text_train(kitchen: Materials, method: str, config: dict[str, Any]) -> None:
    assert finetuned(kitchen, method, **config)["status"] in ("success", "collapsed")


def test_former_logits_of_text_are_not_kept_and_der_says_so(kitchen: Materials) -> None:
    with pytest.raises(FtbenchError, match="Of plain text none are kept"):
        finetuned(kitchen, "der", pool="all")


def test_a_causal_model_is_asked_for_every_word_behind_the_first() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0))
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    batch = Question("causal", None).ask(
        Batch({"input_ids": ids, "attention_mask": mask}, None, np.arange(2)), ["a", "b"]
    )
    assert batch.targets is not None
    assert batch.targets.tolist() == [[6, 7, 8, IGNORED], [10, IGNORED, IGNORED, IGNORED]]
    model.eval()
    sums, counts, _ = word_losses(model(**batch.inputs).logits, batch.targets)
    assert counts.tolist() == [3, 1]
    for row, length in enumerate((4, 2)):  # the library's own loss of the row alone
        alone = ids[row : row + 1, :length]
        assert float((sums[row] / counts[row]).detach()) == pytest.approx(
            float(model(alone, labels=alone).loss.detach()), rel=1e-4
        )


def test_word_metrics_weigh_words_and_not_rows() -> None:
    words = np.array([[2.0, 4, 1], [6.0, 1, 1], [0.0, 5, 5]])
    none, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    found = Predictions("text", (), whole, whole, np.zeros((0, 0)), none, none, words)
    loss, right = (plugin("metrics", name).factory() for name in ("word_loss", "word_accuracy"))
    assert (loss.score(found), right.score(found)) == (pytest.approx(0.8), pytest.approx(0.7))
    spread = right.resampled(found, np.random.default_rng(0), 2000)
    drawn = np.random.default_rng(1).integers(0, 3, (2000, 3))
    expected = words[drawn, 2].sum(1) / words[drawn, 1].sum(1)
    assert np.quantile(spread, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(expected, [0.1, 0.5, 0.9]), abs=0.06)
