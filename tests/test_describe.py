"""`ftbench describe`: what it says is what the plug-ins and the module tree are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from model_families import SHAPES, family_model
from pydantic import Field

from ftbench import architectures, describe
from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.describe import companions, method_lines, model_lines
from ftbench.methods.base import Cost, Method
from ftbench.plugins import Plugin, plugins

ROOT = Path(__file__).parents[1]


class Base(Method):
    summary = "for these tests"
    paper = "none"
    formula = "none"


class Owner(Base):
    name = "owner"
    owns_gradients = True


class OtherOwner(Base):
    name = "other_owner"
    owns_gradients = True


class Dismissive(Base):
    """Refuses a companion, and a setting of training that has nothing to do with companions."""

    name = "dismissive"
    cost = Cost(forward=4.0, backward=2.5, memory="a copy of the weights")
    search = {"settings.rate": (0.1, 0.2)}
    deviations = ("one difference",)

    class Config(Strict):
        rate: float = Field(0.5, ge=0, lt=1, description="how fast")

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = ["always said"] if training.weight_decay else []
        return reasons + [f"never with {other.name}" for other in others if other.name == "owner"]


class Demanding(Base):
    name = "demanding"

    class Config(Strict):
        needed: int


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        factory.name: Plugin(factory.name, "methods", __name__, factory)
        for factory in (Owner, OtherOwner, Dismissive, Demanding)
    }
    monkeypatch.setattr(describe, "plugins", lambda _: known)
    monkeypatch.setattr(describe, "plugin", lambda _, name: known[name])


@pytest.mark.usefixtures("few")
def test_companions_are_asked_both_ways_and_owners_are_compared() -> None:
    fitting, refused = companions("owner")
    assert fitting == []
    assert refused["other_owner"] == ["both own the gradients"]
    assert refused["dismissive"] == ["never with owner"]
    assert "demanding" in refused["demanding"][0]
    assert companions("dismissive")[1]["owner"] == ["never with owner"]
    assert "other_owner" in companions("dismissive")[0]


@pytest.mark.usefixtures("few")
def test_a_method_is_described_with_bounds_grid_cost_and_sources() -> None:
    text = "\n".join(method_lines("dismissive"))
    assert re.search(r"rate +0\.5 +\(number, at least 0, less than 1\)\n +how fast", text)
    assert "settings.rate: 0.1, 0.2" in text
    assert "about 3.00 times the time" in text  # (4 + 2 * 2.5) / (1 + 2)
    assert "a copy of the weights" in text
    assert "\n  classification: always said\n  regression: always said\n" in text
    assert "- one difference" in text


@pytest.mark.parametrize("name", sorted(plugins("methods")))
def test_every_method_can_be_described(name: str) -> None:
    text = "\n".join(method_lines(name))
    factory = plugins("methods")[name].factory
    assert factory.formula in text
    assert factory.paper in text
    for other in plugins("methods"):
        assert other in (name, "vanilla") or re.search(rf"\b{other}\b", text), other


def test_an_unknown_method_is_told_with_the_nearest_name() -> None:
    with pytest.raises(FtbenchError, match="Did you mean `dps_dense`"):
        method_lines("dps_dens")


@pytest.mark.parametrize("family", SHAPES)
def test_the_groups_of_a_snapshot_hold_every_parameter_once(family: str, tmp_path: Path) -> None:
    model = family_model(family, labels=2)
    model.config.save_pretrained(tmp_path)  # type: ignore[union-attr,operator]
    lines = model_lines(str(tmp_path))
    rows = [
        found for line in lines if (found := re.match(r"(embeddings|block \d|top|head) +([\d,]+) .* (\d+)  ", line))
    ]
    counts = [int(row[2].replace(",", "")) for row in rows]
    tensors = [int(row[3]) for row in rows]
    named = list(model.named_parameters())
    assert sum(counts) == sum(value.numel() for _, value in named)
    assert sum(tensors) == len(named)
    assert [row[1] for row in rows] == ["embeddings", "block 0", "block 1", "block 2", "top", "head"]
    assert f"{sum(counts):,} parameters" in lines[0]


def test_a_model_entry_is_described_from_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    from ftbench.config.load import load_catalogue

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(architectures, "folder_of", lambda *_: None)  # as if no study had run here
    built_in = load_catalogue(ROOT).model("demo_encoder").built_in
    assert built_in is not None
    block = BertForSequenceClassification(
        BertConfig(
            hidden_size=built_in.hidden_size, num_hidden_layers=1, num_attention_heads=built_in.heads,
            intermediate_size=built_in.intermediate_size,
        )
    ).bert.encoder.layer[0]  # fmt: skip
    text = "\n".join(model_lines("demo_encoder"))
    assert f"{built_in.layers} blocks" in text
    assert f"{sum(value.numel() for value in block.parameters()):,}" in text
    assert "the corpus decides" in text


def test_a_model_that_is_not_here_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FtbenchError, match=r"no config\.json"):
        model_lines(str(tmp_path))
    with pytest.raises(FtbenchError, match="Did you mean `roberta-base`"):
        model_lines("roberta-bas")
