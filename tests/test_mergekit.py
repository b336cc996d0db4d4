"""Merged weights beside those of mergekit >= 0.1.5 on the same files, where it is installed; it is no dependency."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch
from opened import Memory, merge
from safetensors.torch import load_file

from ftbench.merging.streaming import Rule, mean_rule
from ftbench.soups.breadcrumbs import Breadcrumbs
from ftbench.soups.model_stock import stock
from ftbench.soups.slerp import on_the_arc
from ftbench.soups.task_arithmetic import TaskArithmetic
from ftbench.soups.ties import Ties


def installed() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version("mergekit").split(".")[:3])
    except PackageNotFoundError:
        return ()


pytestmark = pytest.mark.skipif(installed() < (0, 1, 5), reason="mergekit of at least 0.1.5 is not installed")
RUNS = ["m0", "m1", "m2"]
WEIGHTS = {"m0": 1.0, "m1": 0.5, "m2": 0.25}
SHARES = {run: weight / 1.75 for run, weight in WEIGHTS.items()}
ties, breadcrumbs = Ties(Ties.Config(density=0.3)), Breadcrumbs(Breadcrumbs.Config(top=0.02, density=0.7))
# ours, and mergekit's method with its parameters for all models
CASES: dict[str, tuple[Rule, dict[str, Any]]] = {
    "linear": (mean_rule(SHARES), {"merge_method": "linear", "parameters": {"normalize": True}}),
    "task_arithmetic": (
        TaskArithmetic(TaskArithmetic.Config()).rule(WEIGHTS, 0.7),
        {"merge_method": "task_arithmetic", "parameters": {"normalize": False, "lambda": 0.7}},
    ),
    "ties": (
        ties.rule(WEIGHTS, 0.9),
        {"merge_method": "ties", "parameters": {"normalize": True, "density": 0.3, "lambda": 0.9}},
    ),
    "breadcrumbs": (
        breadcrumbs.rule(WEIGHTS, 1.0),
        {"merge_method": "breadcrumbs", "parameters": {"normalize": False, "density": 0.7, "gamma": 0.02}},
    ),
    "slerp": (on_the_arc("m0", "m1", 0.3), {"merge_method": "slerp", "parameters": {"t": 0.3}}),
    "model_stock": (stock(RUNS, clamp=False), {"merge_method": "model_stock"}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start and three models a little apart from it, as transformers writes them."""
    from transformers import BertConfig, BertForSequenceClassification

    root = tmp_path_factory.mktemp("mergekit")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=100, num_labels=3, **sizes))
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for number, name in enumerate(["base", *RUNS]):
        generator = torch.Generator().manual_seed(number)
        moved = {
            key: tensor + 0.05 * torch.randn(tensor.shape, generator=generator) if number else tensor
            for key, tensor in start.items()
        }
        model.load_state_dict(moved)
        model.save_pretrained(root / name)
    return root


@pytest.mark.parametrize("name", CASES)
def test_weights_equal_those_of_mergekit_on_the_same_files(folders: Path, tmp_path: Path, name: str) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    rule, wanted = CASES[name]
    names = RUNS[:2] if name == "slerp" else RUNS
    models = [
        {
            "model": str(folders / run),
            **({} if name in ("slerp", "model_stock") else {"parameters": {"weight": weight}}),
        }
        for run, weight in WEIGHTS.items()
        if run in names
    ]
    config = {"models": models, "dtype": "float32", **wanted}
    if name != "linear":
        config["base_model"] = str(folders / ("m0" if name == "slerp" else "base"))
    run_merge(MergeConfiguration.model_validate(config), str(tmp_path), MergeOptions(copy_tokenizer=False, quiet=True))
    expected = load_file(tmp_path / "model.safetensors")
    sources = {run: Memory(**load_file(folders / run / "model.safetensors")) for run in names}
    found = merge(rule, Memory(**load_file(folders / "base" / "model.safetensors")), **sources)
    assert expected.keys() == found.keys()
    for key, tensor in found.items():  # rounding in single precision: parts up to about 2, sums of three
        torch.testing.assert_close(tensor, expected[key], atol=1e-6, rtol=0)
