"""Soups saved as their runs are: ranks laid side by side, sparse differences added up; exact in both cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from configured import STUDY, configured
from safetensors.torch import load_file, save_file
from small_bench import LABELS, averaged, finetuned, make_bench, predicted

from ftbench.config.errors import FtbenchError
from ftbench.plan import Plan
from ftbench.training.artifact import Artifact, form_of

COMPOSED = {"recipe": "task_arithmetic", "config": {"scales": [1.0], "weights": "one"}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bench(tmp_path_factory.mktemp("bench"))


def plain(bench: Path, place: Path, record: str = "run.json") -> dict[str, torch.Tensor]:
    names = {"base": bench / "base.json", "start": bench / "start.safetensors", "model": place / "model.safetensors"}
    return Artifact.of({**names, "record": place / record}).plain_weights(LABELS, "classification", 0)


def runs(bench: Path, folder: Path, method: str, *settings: dict[str, Any]) -> list[Path]:
    places = [folder / f"s{seed}" for seed in range(len(settings))]
    for seed, place in enumerate(places):
        finetuned(bench, place, method, seed, **settings[seed])
    return places


def test_concatenated_ranks_are_exactly_the_mean_of_the_merged_weights(bench: Path, tmp_path: Path) -> None:
    places = runs(bench, tmp_path, "lora", *[{"rank": 2, "alpha": 8.0}] * 3)
    record = averaged(bench, places, tmp_path / "soup", form="as_runs")
    file = tmp_path / "soup" / "model.safetensors"
    assert form_of(file) == "adapter"
    assert record["methods"][0]["config"]["rank"] == 6
    stored = load_file(file)
    first = next(name for name in stored if ".lora_A." in name)
    assert stored[first].shape[0] == 6
    assert not any(name.endswith("word_embeddings.weight") for name in stored)
    found, parts = plain(bench, tmp_path / "soup", "recipe.json"), [plain(bench, place) for place in places]
    for name, tensor in found.items():
        mean = sum(part[name].double() for part in parts) / 3
        torch.testing.assert_close(tensor, mean.float(), atol=1e-5, rtol=1e-5)
    # not the product of the mean factors, which is another model
    factors = [load_file(place / "model.safetensors") for place in places[::2]]
    one, two = (sum(part[name.replace("lora_A", kind)] for part in factors) / 2
                for kind, name in (("lora_A", first), ("lora_B", first)))  # fmt: skip
    product = sum(part[first.replace("lora_A", "lora_B")] @ part[first] for part in factors) / 2
    assert not torch.allclose(two @ one, product, atol=1e-4)
    merged = averaged(bench, places, tmp_path / "merged")
    assert record["select_score"] == merged["select_score"]
    assert "one adapter of `lora`" in (tmp_path / "soup" / "README.md").read_text()
    assert record["checkpoint_bytes"] < merged["checkpoint_bytes"] / 2
    for name, logits in predicted(bench, tmp_path / "soup", "soup").items():
        np.testing.assert_allclose(logits, predicted(bench, tmp_path / "merged", "soup")[name], atol=1e-4)


def test_runs_of_other_ranks_and_scales_lie_side_by_side_too(tmp_path: Path) -> None:
    from ftbench.soups.own_form import concatenated

    draw = torch.Generator().manual_seed(0)
    configs = {"a": {"rank": 2, "alpha": 8.0}, "b": {"rank": 3, "alpha": 1.5}}
    weights, files, expected = {"a": 0.25, "b": 0.75}, {}, torch.zeros(7, 5)
    for run, config in configs.items():
        one, two = torch.randn(config["rank"], 5, generator=draw), torch.randn(7, config["rank"], generator=draw)
        expected += weights[run] * config["alpha"] / config["rank"] * two @ one
        files[run] = tmp_path / run
        save_file({"x.lora_A.default.weight": one, "x.lora_B.default.weight": two}, files[run])
    found = concatenated(files, configs, weights)
    torch.testing.assert_close(found["x.lora_B.default.weight"] @ found["x.lora_A.default.weight"], expected)
    save_file({"y.lora_A.default.weight": torch.ones(1, 5)}, files["b"])
    with pytest.raises(FtbenchError, match="a and b cannot be concatenated"):
        concatenated(files, configs, weights)


def test_sparse_differences_are_composed_and_stay_sparse(bench: Path, tmp_path: Path) -> None:
    from ftbench.training.models import started_classifier
    from ftbench.training.weights import plain_state

    places = runs(bench, tmp_path, "lt_sft", {"share": 0.02, "frozen": "hard"}, {"share": 0.02, "frozen": "hard"})
    averaged(bench, places, tmp_path / "soup", form="as_runs", **COMPOSED)
    file = tmp_path / "soup" / "model.safetensors"
    assert form_of(file) == "difference"
    start = plain_state(
        started_classifier(bench / "snapshot", LABELS, "classification", 0, bench / "start.safetensors")
    )
    found, parts = plain(bench, tmp_path / "soup", "recipe.json"), [plain(bench, place) for place in places]
    changed = 0
    for name, tensor in found.items():
        if "classifier" in name or "pooler" in name:
            continue
        moved = [part[name] != start[name] for part in parts]
        alone = [moved[0] & ~moved[1], moved[1] & ~moved[0]]
        for where, part in zip(alone, parts, strict=True):  # an entry that one run changed is that run's, bit by bit
            assert torch.equal(tensor[where], part[name][where]), name
        assert torch.equal(tensor[~(moved[0] | moved[1])], start[name][~(moved[0] | moved[1])])
        both = sum((part[name] - start[name]).double() for part in parts) + start[name].double()
        torch.testing.assert_close(tensor, both.float(), atol=1e-6, rtol=1e-5)
        changed += int((moved[0] | moved[1]).sum())
    assert changed
    stored = load_file(file)
    kept = sum(len(tensor) for name, tensor in stored.items() if name.endswith(":indices"))
    whole = sum(tensor.numel() for name, tensor in stored.items()
                if ":" not in name and "classifier" not in name and "pooler" not in name)  # fmt: skip
    assert kept <= changed <= kept + whole
    assert kept > 0


@pytest.mark.parametrize(
    ("method", "more", "expected"),
    [
        ("vanilla", {}, r"found weights in the form `model` by the methods \['vanilla'\]"),
        ("ia3", {}, r"by the methods \['ia3'\]"),
        ("lora", {"recipe": "slerp", "config": {}}, "no weighted mean of whole runs"),
    ],
)
def test_what_cannot_be_laid_side_by_side_is_refused(
    bench: Path, tmp_path: Path, method: str, more: dict[str, Any], expected: str
) -> None:
    places = runs(bench, tmp_path, method, {}, {})
    with pytest.raises(FtbenchError, match=expected):
        averaged(bench, places, tmp_path / "soup", form="as_runs", **more)


def test_predictions_of_such_a_soup_depend_on_the_method_that_reads_it(tmp_path: Path) -> None:
    soups = {"ranks": {"recipe": "uniform", "form": "as_runs"}, "whole": {"recipe": "uniform"}}
    configured(tmp_path, {**STUDY, "methods": {"lora": None}, "soups": soups})
    jobs = {(job.stage, job.cell): job for job in Plan.load("small", tmp_path).jobs()}
    for name, reads in (("ranks", True), ("whole", False)):
        job = jobs["predict", f"soups/reviews/tiny/{name}-lora-default"]
        assert ("ftbench.methods.lora" in job.modules) == reads
