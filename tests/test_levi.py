"""LEVI against its formula: which depths it reads, what is trained, what a model keeps without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from model_families import FAMILIES, family_model
from test_conformance import settings, tiny_data, tiny_model

from ftbench.config.study import Training
from ftbench.methods.l2_sp import L2Sp
from ftbench.methods.levi import Levi
from ftbench.training.artifact import Artifact, saved_form
from ftbench.training.batches import EpochBatches
from ftbench.training.job import Job
from ftbench.training.layer_views import NAME, depths
from ftbench.training.layers import is_encoder
from ftbench.training.loop import train
from ftbench.training.method import Context
from ftbench.training.weights import plain_state, save_weights

IDS = torch.tensor([[11, 21, 31, 41], [12, 22, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def trained(model: torch.nn.Module, **config: Any) -> tuple[Levi, Any]:
    torch.set_num_threads(1)
    method = Levi(Levi.Config(**config))
    context = Context(model, settings(steps=3, warmup_share=0.0), "classification", seed=1)
    method.prepare_model(context)
    batches = EpochBatches(tiny_data(), 8, 1, "length", 1, torch.device("cpu"))
    return method, train(Job(context, [method], batches, 3, say=lambda _: None))


def test_views_stand_at_equal_distances_with_the_top_block_last() -> None:
    assert depths(12, 4) == [2, 5, 8, 11]
    assert depths(24, 3) == [7, 15, 23]
    assert depths(2, 4) == [0, 1]
    assert depths(6, 1) == [5]


def test_without_the_small_network_it_is_a_mean_of_linear_probes_on_normalised_states() -> None:
    model = tiny_model()
    trained(model, small_width=0, views=2)
    model.eval()
    with torch.no_grad():
        found = model(input_ids=IDS, attention_mask=MASK).logits
        states = model.bert(input_ids=IDS, attention_mask=MASK, output_hidden_states=True).hidden_states
    network = model.get_submodule(NAME)
    answers = []
    for depth, norm, answer in zip((1, 2), network.norms, network.answers, strict=True):
        mean = torch.stack([states[depth][0].mean(dim=0), states[depth][1, :2].mean(dim=0)])
        normalised = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        answers.append((normalised * norm.weight + norm.bias) @ answer.weight.T + answer.bias)
    assert torch.allclose(found, torch.stack(answers).mean(dim=0), atol=1e-5)


def test_the_small_network_reads_the_tokens_itself() -> None:
    """With the frozen model's states held the same, other tokens give another answer."""
    model = tiny_model()
    trained(model)
    network = model.get_submodule(NAME).eval()
    views = [torch.ones(2, 4, 16)] * 2
    with torch.no_grad():
        assert not torch.allclose(network(views, IDS, MASK), network(views, IDS.flip(0), MASK))
        padded = IDS.masked_fill(MASK == 0, 55)
        assert torch.allclose(network(views, IDS, MASK), network(views, padded, MASK), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pretrained_model_stays_bit_for_bit_and_only_added_tensors_move(family: str) -> None:
    model = family_model(family)
    start = {name: value.clone() for name, value in plain_state(model).items()}
    _, outcome = trained(model)
    end = plain_state(model)
    assert all(torch.equal(value, end[name]) for name, value in start.items())
    assert all(name.startswith(NAME) or not is_encoder(name, model) for name in outcome.weights)
    assert outcome.log[0]["loss"] != outcome.log[2]["loss"]


def test_the_frozen_model_has_no_dropout_while_the_rest_trains() -> None:
    model = tiny_model()
    trained(model, small_width=0)
    model.train()
    with torch.no_grad():
        assert torch.equal(*(model(input_ids=IDS, attention_mask=MASK).logits for _ in range(2)))


def test_a_model_that_is_given_the_encoder_alone_answers_by_its_own_head(tmp_path: Path) -> None:
    method, outcome = trained(tiny_model())
    save_weights(outcome.weights, tmp_path / "model.safetensors", saved_form([method]))
    tiny_model().save_pretrained(tmp_path / "snapshot")
    plugs = (("levi", method.config.model_dump(mode="json")),)
    other, plain = tiny_model().eval(), tiny_model().eval()
    Artifact(tmp_path / "snapshot", tmp_path / "model.safetensors", plugs).put_encoder(other)
    with torch.no_grad():
        found, expected = (each.eval()(input_ids=IDS, attention_mask=MASK).logits for each in (other, plain))
    assert torch.equal(found, expected)


def test_an_anchor_is_refused() -> None:
    assert Levi.check(Levi.Config(), Training(), "classification", [L2Sp])
    assert not Levi.check(Levi.Config(), Training(), "classification", [])
