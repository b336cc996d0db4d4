"""Stage `soup` on a tiny model: which runs go in, which are refused, and what the record says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from data_stages import NAMES, cut, fetched, prepared, rows
from safetensors.torch import load_file, save_file

from ftbench.config.errors import FtbenchError
from ftbench.merging.agreement import check_records
from ftbench.stage import execute

LABELS = list(NAMES)
OUTPUTS = {"model": "model.safetensors", "card": "README.md", "record": "recipe.json"}


def snapshot(folder: Path) -> Path:
    """A model folder with a two-dimensional BERT and a tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "text", "number", *map(str, range(40))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=len(words), max_position_embeddings=16, **sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trained runs (here: random weights), their records, a base model and selection rows."""
    from ftbench.training.models import new_classifier
    from ftbench.training.weights import plain_state

    folder = tmp_path_factory.mktemp("kitchen")
    prepared(fetched(folder, {"train": rows(40)}))
    cut(folder, select={"rows": 12})
    base = snapshot(folder / "snapshot")
    (folder / "base.json").write_text("{}")
    for number, score in enumerate([0.5, 0.75, 0.5]):
        save_file(
            plain_state(new_classifier(base, LABELS, "classification", number)), folder / f"m{number}.safetensors"
        )
        write_record(folder, number, select_score=score)
    return folder


def record(number: int, **changes: Any) -> dict[str, Any]:
    content = {"run_id": f"runs/s{number}", "status": "success", "error": None, "init_hash": "same", "labels": LABELS}
    return {**content, "select_score": 0.5, **changes}


def write_record(folder: Path, number: int, **changes: Any) -> None:
    (folder / f"r{number}.json").write_text(json.dumps(record(number, **changes)))


def cook(
    kitchen: Path, place: Path, numbers: list[int], recipe: str = "uniform", records: Path | None = None, **more: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights and the record of a soup of some runs."""
    spec = {
        "study": "small", "task": "reviews", "model": "tiny", "method": "vanilla", "variant": "default",
        "family": "mine", "artifact": "soups/x", "recipe": recipe, "config": {}, "kind": "classification",
        "ingredients": [f"runs/s{number}" for number in numbers], "labels": LABELS,
        "select_metric": "accuracy", "max_length": 8, **more,
    }  # fmt: skip
    inputs = {"base": kitchen / "base.json", "select": kitchen / "select.parquet"}
    for position, number in enumerate(numbers):
        inputs[f"record{position}"] = (records or kitchen) / f"r{number}.json"
        inputs[f"model{position}"] = kitchen / f"m{number}.safetensors"
    outputs = {name: place / file for name, file in OUTPUTS.items()}
    execute("soup", spec, inputs, outputs, place / ".work", "source")
    return load_file(outputs["model"]), json.loads(outputs["record"].read_text())


def test_a_uniform_soup_is_the_mean_of_its_runs_and_the_record_says_which(kitchen: Path, tmp_path: Path) -> None:
    soup, written = cook(kitchen, tmp_path, [0, 1, 2])
    runs = [load_file(kitchen / f"m{number}.safetensors") for number in range(3)]
    for name, tensor in soup.items():
        torch.testing.assert_close(tensor, torch.stack([run[name] for run in runs]).mean(0), rtol=1e-5, atol=1e-7)
    assert (written["status"], written["n_candidates"], written["n_ingredients"]) == ("success", 3, 3)
    assert (written["best_single_run_id"], written["best_single_score"]) == ("runs/s1", 0.75)
    ranked = [item["run_id"] for item in written["ingredients"]]
    assert ranked == ["runs/s1", "runs/s0", "runs/s2"]  # best first, ties by run id
    assert sum(item["weight"] for item in written["ingredients"]) == pytest.approx(1)
    assert (written["accum_dtype"], written["out_dtype"]) == ("float64", "float32")
    assert 0 <= written["select_score"] <= 1
    assert (tmp_path / "model.safetensors").stat().st_size == written["checkpoint_bytes"]


def test_sums_are_of_the_number_format_that_the_study_names(kitchen: Path, tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    (tmp_path / "long").mkdir()
    short, written = cook(kitchen, tmp_path / "short", [0, 1, 2], accumulate="float32")
    long, _ = cook(kitchen, tmp_path / "long", [0, 1, 2])
    assert written["accum_dtype"] == "float32"
    # the same mean but for rounding, and the rounding is there
    torch.testing.assert_close(short, long, rtol=1e-5, atol=1e-7)
    assert any((short[name] != long[name]).any() for name in long)


@pytest.mark.parametrize("recipe", ["uniform", "greedy"])
def test_the_order_of_the_runs_never_matters(kitchen: Path, tmp_path: Path, recipe: str) -> None:
    one, first = cook(kitchen, tmp_path / "a", [0, 1, 2], recipe)
    other, second = cook(kitchen, tmp_path / "b", [2, 0, 1], recipe)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert first["checkpoint_sha256"] == second["checkpoint_sha256"]
    assert first["ingredients"] == second["ingredients"]


@pytest.mark.parametrize("recipe", ["uniform", "greedy"])
def test_a_soup_of_one_run_is_that_run(kitchen: Path, tmp_path: Path, recipe: str) -> None:
    soup, written = cook(kitchen, tmp_path, [1], recipe)
    run = load_file(kitchen / "m1.safetensors")
    assert all(torch.equal(soup[name], run[name]) for name in run)
    assert written["n_ingredients"] == 1


def test_a_failed_run_is_left_out_and_named(kitchen: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_record(tmp_path, number)
    write_record(tmp_path, 2, status="failed", error="the loss was no longer finite at step 3", select_score=None)
    _, written = cook(kitchen, tmp_path / "out", [0, 1, 2], records=tmp_path)
    assert written["left_out"] == {"runs/s2": "failed: the loss was no longer finite at step 3"}
    assert (written["n_candidates"], written["n_ingredients"]) == (2, 2)


def test_a_soup_without_any_run_left_is_a_failed_soup_and_no_failed_job(kitchen: Path, tmp_path: Path) -> None:
    write_record(tmp_path, 0, status="collapsed", error="no better than chance")
    weights, written = cook(kitchen, tmp_path / "out", [0], records=tmp_path)
    assert (weights, written["status"], written["ingredients"]) == ({}, "failed", [])
    assert "collapsed: no better than chance" in written["error"]


def test_a_family_of_which_every_run_collapsed_names_them_all(kitchen: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_record(tmp_path, number, status="collapsed", error=f"no better than chance {number}")
    weights, written = cook(kitchen, tmp_path / "out", [0, 1, 2], "greedy", records=tmp_path)
    assert (weights, written["status"], written["n_candidates"], written["n_left_out"]) == ({}, "failed", 0, 3)
    for number in range(3):
        assert f"runs/s{number} collapsed: no better than chance {number}" in written["error"]


def test_a_failed_soup_knows_its_code_and_its_time_like_a_whole_one(kitchen: Path, tmp_path: Path) -> None:
    write_record(tmp_path, 0, status="collapsed", error="no better than chance")
    _, failed = cook(kitchen, tmp_path / "a", [0], records=tmp_path)
    _, whole = cook(kitchen, tmp_path / "b", [1])
    described = {"started_at", "ended_at", "code_fingerprint", "git_commit", "versions"}
    assert described <= set(whole)
    assert described <= set(failed)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"init_hash": "another"}, "`init_hash`.*weights before the first step.*same and another.*`init: shared`"),
        ({"labels": LABELS[::-1]}, "`labels`.*order of labels.*negative.*positive.*positive.*negative"),
        ({"architecture": "BertModel 1"}, "`architecture`.*None and BertModel 1"),
        ({"tokenizer_digest": "1"}, "`tokenizer_digest`.*the tokenizer's files"),
        ({"base_digest": "1"}, "`base_digest`.*weights of the pretrained model"),
        ({"kind": "regression"}, "`kind`"),
    ],
)
def test_runs_that_started_differently_are_refused(
    kitchen: Path, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(FtbenchError, match=rf"runs/s0 and runs/s1 cannot be averaged.*{expected}"):
        check_records({"runs/s0": record(0), "runs/s1": record(1, **changes)}, LABELS)
    write_record(tmp_path, 0)
    write_record(tmp_path, 1, **changes)
    with pytest.raises(FtbenchError, match="cannot be averaged"):
        cook(kitchen, tmp_path / "out", [0, 1], records=tmp_path)
    assert not list((tmp_path / "out").glob("*.*"))


def test_a_run_without_a_select_score_is_refused(kitchen: Path, tmp_path: Path) -> None:
    write_record(tmp_path, 0, select_score=None)
    with pytest.raises(FtbenchError, match=r"runs/s0 has no select score.*`training\.evaluations`"):
        cook(kitchen, tmp_path / "out", [0], records=tmp_path)


def test_equal_weights_and_metadata_give_equal_bytes(tmp_path: Path) -> None:
    from safetensors import safe_open

    from ftbench.training.weights import file_digest, save_weights

    state = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    metadata = {"status": "success", "recipe": "uniform", "ingredients": '{"rüns/s0": 1.0, "x\\n": "\\u0001"}'}
    digests = set()
    for number in range(8):
        file = tmp_path / f"{number}.safetensors"
        save_weights(state, file, metadata)
        digests.add(file_digest(file))
        with safe_open(str(file), framework="pt") as opened:
            assert opened.metadata() == {"format": "pt", **metadata}
        assert all(torch.equal(tensor, state[name]) for name, tensor in load_file(file).items())
    assert len(digests) == 1
