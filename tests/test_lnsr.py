"""LNSR against its closed formula on linear blocks, finite differences, and the case without noise."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from family_training import losses, padded_batch, trained
from model_families import FAMILIES
from placing import fresh_accelerate

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.methods.base import Context
from ftbench.methods.lnsr import Lnsr
from ftbench.training.batches import Batch
from ftbench.training.dropout import dropout_state

WIDTH = 6


class Linear(torch.nn.Module):
    """One block without a bias: a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.randn(WIDTH, WIDTH) / math.sqrt(WIDTH))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states @ self.matrix.T


class Stack(torch.nn.Module):
    """A classifier of linear blocks, as transformers lays one out; `between` adds one to what a block gives."""

    base_model_prefix = "body"

    def __init__(self, depth: int = 3, between: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.body = torch.nn.Module()
        self.body.embed = torch.nn.Embedding(60, WIDTH)
        self.body.layer = torch.nn.ModuleList(Linear() for _ in range(depth))
        self.between = between

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.body.embed(input_ids)
        for block in self.body.layer:
            hidden = block(hidden)
            hidden = hidden + self.between if self.between else hidden
        return hidden[:, 0, :3]


def sharing(model: torch.nn.Module) -> torch.nn.Module:
    """A copy with the same parameters: hooks stay on a model, and every term has its own."""
    weights = {id(value): value for value in model.parameters()}
    return copy.deepcopy(model, weights)


def term(model: torch.nn.Module, batch: Batch | None = None, step: int = 1, **config: Any) -> torch.Tensor:
    """What LNSR adds to the loss of a micro-batch of a copy of the model that shares its weights."""
    model = sharing(model)
    batch = batch or padded_batch()
    method = Lnsr(Lnsr.Config(**config))
    context = Context(model, Training(), "classification", 0, step=step)
    method.prepare_model(context)
    context.dropout_state = dropout_state(torch.device("cpu"))
    logits = model(**batch.inputs)
    logits = getattr(logits, "logits", logits)
    return method.loss(torch.zeros(()), logits, batch, context)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_without_noise_the_second_run_gives_the_same_states_dropout_included(family: str, precision: str) -> None:
    """Were masks of dropout or attention, positions or precision not the same, the squared distance would show it."""
    with fresh_accelerate():
        plain = losses(trained(family, [], precision=precision))
        same = losses(trained(family, [Lnsr(Lnsr.Config(size=0.0, weight=1e6))], precision=precision))
        other = losses(trained(family, [Lnsr(Lnsr.Config(size=0.2, weight=1e6))], precision=precision, steps=1))
    assert same == plain
    assert other[0] > plain[0] + 1


def test_the_mean_over_draws_is_the_closed_formula_of_linear_blocks() -> None:
    """E |h'_r - h_r|^2 = s^2 |W_r ... W_{b+1}|_F^2 for each token, here divided by the width."""
    model, size = Stack(), 0.3
    _, second, third = (block.matrix.detach() for block in model.body.layer)
    products = [third @ second, second]
    expected = sum(float(product.square().sum()) for product in products) * size**2 / WIDTH
    config = {"size": size, "scale": "absolute", "depth": 0.34}  # above the first of three blocks
    with torch.no_grad():
        drawn = [float(term(model, step=step, **config)) for step in range(1, 401)]
    standard_error = np.std(drawn) / math.sqrt(len(drawn))
    assert abs(np.mean(drawn) - expected) < 4 * standard_error
    assert standard_error < 0.02 * expected


def test_the_term_grows_with_the_square_of_the_noise_and_linearly_with_its_weight() -> None:
    model = Stack()
    one = float(term(model, size=0.01).detach())
    assert one > 0
    assert float(term(model, size=0.03).detach()) == pytest.approx(9 * one, rel=1e-4)
    assert float(term(model, size=0.01, weight=7.0).detach()) == pytest.approx(7 * one, rel=1e-4)


def test_relative_noise_scales_with_the_states_and_the_share_does_not() -> None:
    model = Stack()
    config = {"size": 0.05, "distance": "share"}
    absolute, share = float(term(model, size=0.05).detach()), float(term(model, **config).detach())
    model.body.embed.weight.data *= 4
    assert float(term(model, size=0.05).detach()) == pytest.approx(16 * absolute, rel=1e-4)
    assert float(term(model, **config).detach()) == pytest.approx(share, rel=1e-4)


def test_the_gradient_is_that_of_finite_differences() -> None:
    """Absolute noise, which does not depend on the weights; float64, since differences of fp32 are too rough."""
    torch.manual_seed(1)
    model = torch.nn.Module.double(Stack())
    model.body.layer[1].register_forward_hook(lambda *given: given[2].tanh())
    matrix = model.body.layer[0].matrix
    config = {"size": 0.5, "scale": "absolute"}
    term(model, **config).backward()
    assert matrix.grad is not None
    for place in [(0, 0), (2, 3), (5, 1)]:
        values = []
        for sign in (1, -1):
            matrix.data[place] += sign * 1e-2
            values.append(float(term(model, **config).detach()))
            matrix.data[place] -= sign * 1e-2
        assert float(matrix.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=0.02, abs=1e-5)


def test_in_manifold_noise_leads_towards_another_example_and_leaves_padding_alone() -> None:
    batch, hidden = padded_batch(), torch.randn(6, 9, WIDTH, generator=torch.Generator().manual_seed(0))
    context = Context(Stack(), Training(), "classification", 0, step=1)
    noise = Lnsr(Lnsr.Config(noise="in_manifold", size=1.0)).draw(hidden, batch, context)
    partners = [
        next((other for other in range(6) if torch.allclose((hidden + noise)[row, :4], hidden[other, :4])), None)
        for row in range(6)
    ]
    assert None not in partners
    assert sorted(partners) == list(range(6))
    assert all(row != partner for row, partner in enumerate(partners))
    assert noise[batch.inputs["attention_mask"] == 0].abs().max() == 0


def test_padding_counts_nowhere() -> None:
    """Two more columns of padding change nothing but the noise, which is switched to one that is no draw."""
    model, batch = Stack(), padded_batch()
    assert batch.targets is not None
    wide = {name: torch.nn.functional.pad(tensor, (0, 2)) for name, tensor in batch.inputs.items()}
    config = {"noise": "in_manifold", "size": 0.5}
    narrow = float(term(model, batch, **config).detach())
    assert narrow > 0
    assert float(term(model, Batch(wide, batch.targets, batch.rows), **config).detach()) == pytest.approx(narrow)


def test_a_model_that_computes_between_its_blocks_is_refused() -> None:
    with pytest.raises(FtbenchError, match="between its blocks"):
        term(Stack(between=1.0))
