"""DBA against its formula; the prior gradient against one backward pass over all rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from prior_rows import tiny_prior
from test_conformance import prepared, settings

from ftbench.methods.dba import Dba, mean_gradients
from ftbench.training.layers import is_encoder


@pytest.mark.filterwarnings("ignore:dba")
def test_the_direction_is_the_gradient_of_the_mean_loss_of_the_prior_rows() -> None:
    job, _ = prepared("dba", settings())
    context = job.context
    context.prior = prior = tiny_prior(context.model, rows=40)
    halves = mean_gradients(context, 40, 7)
    batch = prior.batch(np.arange(40), "cpu")
    model = context.model.eval()
    torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.targets).backward()
    for name, parameter in model.named_parameters():
        if is_encoder(name, model) and parameter.grad is not None:
            assert torch.allclose((halves[0][name] + halves[1][name]) / 2, parameter.grad, atol=1e-6), name


@pytest.mark.filterwarnings("ignore:dba")
def test_gradient_and_rate_follow_the_formula() -> None:
    job, method = prepared("dba", settings())
    assert isinstance(method, Dba)
    context = job.context
    method.config = Dba.Config(kappa=0.3)
    draw = torch.Generator().manual_seed(0)
    names = [name for name, _ in context.model.named_parameters() if is_encoder(name, context.model)]
    for name, parameter in context.model.named_parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)
        if name in names:
            method.direction[name] = torch.randn(parameter.shape, generator=draw) + 0.2 * parameter.grad
    own = torch.cat([p.grad.flatten() for n, p in context.model.named_parameters() if n in names])
    general = torch.cat([method.direction[n].flatten() for n in names])
    head = context.model.classifier.weight.grad.clone()
    method.optimizer = torch.optim.SGD(context.model.parameters(), lr=2.0)
    method.gradients_ready(context)
    found = torch.cat([p.grad.flatten() for n, p in context.model.named_parameters() if n in names])
    assert torch.allclose(found, own + 0.3 * own.norm() / general.norm() * general, atol=1e-4)
    cosine = float(torch.nn.functional.cosine_similarity(own, general, dim=0))
    assert cosine > 0.1
    assert method.optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * (1 + cosine) / 2, rel=1e-4)
    assert torch.equal(context.model.classifier.weight.grad, head)


def test_a_direction_that_is_noise_is_told() -> None:
    job, method = prepared("dba", settings())
    assert isinstance(method, Dba)
    context = job.context
    targets = np.random.default_rng(0).integers(0, 3, 12)
    prior = tiny_prior(context.model, rows=12)
    pool = type(prior.pool)(prior.pool.uids, prior.pool.text_a, None, targets)
    context.prior = tiny_prior(context.model, rows=12, pool=pool)
    import ftbench.methods.dba as module

    original, module.NOISE = module.NOISE, 1.1
    try:
        with pytest.warns(UserWarning, match="two halves of the prior rows have a cosine of"):
            method.prologue(context)
    finally:
        module.NOISE = original
    halves = mean_gradients(context, 512, 32)
    flat = [torch.cat([part.flatten() for part in half.values()]).double() for half in halves]
    found = method.record()
    assert found["split_half_cosine"] == pytest.approx(
        float(flat[0] @ flat[1] / flat[0].norm() / flat[1].norm()), abs=1e-5
    )
    assert found["prior_gradient_norm"] == pytest.approx(float((flat[0] + flat[1]).norm() / 2))
