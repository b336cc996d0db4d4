"""Runs that save adapters or differences, through the stages: trained, predicted, averaged, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from configured import configured
from pyarrow import parquet
from safetensors.torch import load_file
from small_bench import LABELS, averaged, finetuned, make_bench, predicted

from ftbench.check import study_problems
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.plan import Plan
from ftbench.training.artifact import Artifact, decode_difference, encode_difference, form_of, saved_form


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bench(tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize(
    ("method", "settings", "beside"),
    [
        ("lora", {}, {}),
        ("ia3", {}, {}),
        ("houlsby_adapter", {}, {}),
        ("prefix_tuning", {"virtual_tokens": 4}, {}),
        ("prompt_tuning", {"virtual_tokens": 4}, {}),
        ("lora", {"targets": "all"}, {"dps_dense": {"update_ratio": 0.2}}),
        ("dsee", {"prune_share": 0.2}, {"dps_dense": {"update_ratio": 0.2}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_predictions_of_a_saved_adapter_are_those_of_the_trained_model(
    bench: Path, tmp_path: Path, method: str, settings: dict[str, Any], beside: dict[str, Any]
) -> None:
    record = finetuned(bench, tmp_path, method, beside=beside, **settings)
    assert form_of(tmp_path / "model.safetensors") == "adapter"
    stored = load_file(tmp_path / "model.safetensors")
    assert not any(name.endswith("word_embeddings.weight") for name in stored)
    assert record["trainable_parameters"] < record["total_parameters"]
    logits = predicted(bench, tmp_path)
    labels = parquet.read_table(bench / "select.parquet").column("label").to_pylist()
    right = [LABELS[index] == label for index, label in zip(logits["select"].argmax(1), labels, strict=True)]
    assert np.mean(right) == pytest.approx(record["select_score"])
    assert logits["before"].shape == (12, 3)


def test_a_soup_of_adapters_is_the_mean_of_their_merged_weights(bench: Path, tmp_path: Path) -> None:
    places = [tmp_path / f"s{seed}" for seed in (0, 1)]
    for seed, place in enumerate(places):
        finetuned(bench, place, "lora", seed)
    single, both = tmp_path / "single", tmp_path / "both"
    averaged(bench, places[:1], single)
    for name, logits in predicted(bench, single, "soup").items():  # of plain weights, the prior set included
        np.testing.assert_allclose(logits, predicted(bench, places[0])[name], atol=1e-5)
    averaged(bench, places, both)
    plain = [
        Artifact.of(
            {"base": bench / "base.json", "start": bench / "start.safetensors", "model": place / "model.safetensors",
             "record": place / "run.json"}
        ).plain_weights(LABELS, "classification", 0)
        for place in places
    ]  # fmt: skip
    soup = load_file(both / "model.safetensors")
    assert set(soup) == set(plain[0])
    for name, tensor in soup.items():
        torch.testing.assert_close(tensor, (plain[0][name] + plain[1][name]) / 2, rtol=1e-5, atol=1e-6)
    assert not (both / ".work").exists() or not list((both / ".work").rglob("*.safetensors"))


def test_a_soup_of_adapters_that_cannot_be_merged_is_refused(bench: Path, tmp_path: Path) -> None:
    finetuned(bench, tmp_path / "run", "houlsby_adapter")
    with pytest.raises(FtbenchError, match=r"houlsby_adapter cannot be turned into plain weights: an activation"):
        averaged(bench, [tmp_path / "run"], tmp_path / "soup")
    assert not (tmp_path / "soup" / "model.safetensors").exists()


def study(tmp_path: Path, methods: Any, soup_of: list[str]) -> tuple[Path, list[str]]:
    from configured import STUDY

    content = {**STUDY, "init": "shared", "seeds": [0, 1], "methods": methods}
    content["soups"] = {"uniform": {"recipe": "uniform", "methods": soup_of}}
    root = configured(tmp_path, study=content)
    return root, study_problems(load_study("small", root), load_catalogue(root))


def test_the_plan_refuses_soups_of_what_cannot_be_averaged_and_two_adapters_in_one_run(tmp_path: Path) -> None:
    methods = {"pfeiffer_adapter": None, "lora": None, "both": {"use": ["lora", "ia3"]}}
    _, problems = study(tmp_path, methods, ["pfeiffer_adapter", "lora"])
    assert any("key `soups.uniform`" in line and "`pfeiffer_adapter`, which cannot be averaged" in line
               for line in problems)  # fmt: skip
    assert not any("`lora`, which cannot" in line for line in problems)
    assert any("key `methods.both`" in line and "at most one method" in line for line in problems)


def test_jobs_that_read_adapters_depend_on_the_method_and_those_that_read_plain_weights_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, problems = study(tmp_path, {"vanilla": None, "lora": None}, ["vanilla", "lora"])
    assert problems == []
    monkeypatch.chdir(root)
    jobs = {(job.stage, job.cell): job for job in Plan.load("small", root).jobs()}
    for (stage, cell), job in jobs.items():
        if stage in ("predict", "soup"):
            reads = "lora" in cell and not (stage == "predict" and cell.startswith("soups/"))
            assert ("ftbench.methods.lora" in job.modules) == reads, (stage, cell)


def test_a_difference_gives_the_weights_back_bit_for_bit_and_takes_less_room() -> None:
    generator = torch.Generator().manual_seed(0)
    start = {name: torch.randn(20, 30, generator=generator) for name in ("same", "few", "many", "head")}
    end = {name: tensor.clone() for name, tensor in start.items()}
    end["few"][3, 4], end["few"][19, 29] = 7.0, -0.25
    end["many"] += 1
    end["head"][0, 0] = 9.0
    stored = encode_difference(start, end, dense=lambda name: name == "head")
    assert set(stored) == {"few:indices", "few:values", "many", "head"}
    assert stored["few:indices"].tolist() == [3 * 30 + 4, 19 * 30 + 29]
    assert stored["few:values"].tolist() == [7.0, -0.25]
    again = decode_difference(start, stored)
    assert all(torch.equal(again[name], tensor) for name, tensor in end.items())
    assert start["few"][3, 4] != 7.0  # the start is left alone


@pytest.mark.parametrize(
    "stored",
    [
        {"w:indices": torch.tensor([6]), "w:values": torch.ones(1)},
        {"w:indices": torch.tensor([-1]), "w:values": torch.ones(1)},
        {"w:indices": torch.tensor([0])},
        {"other:indices": torch.tensor([0]), "other:values": torch.ones(1)},
    ],
)
def test_a_difference_that_does_not_fit_its_start_is_refused(stored: dict[str, torch.Tensor]) -> None:
    with pytest.raises(FtbenchError, match="does not fit its start"):
        decode_difference({"w": torch.zeros(2, 3)}, stored)


def test_a_difference_on_the_disk_predicts_like_the_weights_it_came_from(bench: Path, tmp_path: Path) -> None:
    from ftbench.training.layers import is_encoder
    from ftbench.training.models import started_classifier
    from ftbench.training.weights import plain_state, save_weights

    start = started_classifier(bench / "snapshot", LABELS, "classification", 0, bench / "start.safetensors")
    end = {name: tensor.clone() for name, tensor in plain_state(start).items()}
    for tensor in end.values():
        tensor.view(-1)[0] += 1
    stored = encode_difference(plain_state(start), end, lambda name: not is_encoder(name, start))
    header = saved_form([type("Sparse", (), {"saves": "difference"})()])
    save_weights(stored, tmp_path / "model.safetensors", header)
    (tmp_path / "run.json").write_text(json.dumps({"status": "success", "methods": []}))
    sparse = predicted(bench, tmp_path)
    save_weights(end, tmp_path / "model.safetensors")
    assert len(stored) < 2 * len(end)
    for name, logits in predicted(bench, tmp_path).items():
        np.testing.assert_array_equal(sparse[name], logits)
