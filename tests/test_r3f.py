"""R3F and R4F against closed formulas and limiting cases."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from family_training import losses, padded_batch, trained
from model_families import family_model
from test_conformance import _stop_after, assert_equal_weights, prepared, settings, tiny_model

from ftbench.config.study import Training
from ftbench.methods.base import Context
from ftbench.methods.r3f import R3f
from ftbench.outputs import Stopped
from ftbench.training.embeddings import embedding_shape, token_mask
from ftbench.training.job import Job
from ftbench.training.loop import train


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_r3f_draws_noise_of_the_stated_size_and_none_on_padding(distribution: str) -> None:
    model, batch = family_model("bert"), padded_batch()
    context = Context(model, Training(), "classification", 0, step=1)
    method = R3f(R3f.Config(epsilon=0.5, distribution=distribution))
    noise, mask = method.draw(batch, context), token_mask(batch).bool().expand(embedding_shape(model, batch))
    assert torch.equal(noise, method.draw(batch, context))
    assert noise[~mask].abs().max() == 0
    if distribution == "uniform":
        assert 0.49 < float(noise.abs().max()) <= 0.5
    # 624 draws: three standard errors of their deviation are less than a tenth
    deviation = 0.5 if distribution == "normal" else 0.5 / math.sqrt(3)
    assert float(noise[mask].std()) == pytest.approx(deviation, rel=0.1)


def test_r3f_without_noise_and_with_shared_dropout_adds_nothing() -> None:
    """Whatever it adds by default is noise or dropout; with neither, both passes agree exactly."""
    plain = trained("bert", [])
    same = trained("bert", [R3f(R3f.Config(epsilon=0.0, dropout="shared"))])
    other = trained("bert", [R3f(R3f.Config(epsilon=0.0))])
    assert losses(same) == losses(plain)
    assert all(one > two for one, two in zip(losses(other), losses(plain), strict=True))


def test_r4f_gives_the_head_spectral_norm_1_in_the_saved_weights() -> None:
    outcome = trained("roberta", [R3f(R3f.Config(spectral_head=True))])
    assert outcome.weights is not None
    for part in ("dense", "out_proj"):
        norm = torch.linalg.matrix_norm(outcome.weights[f"classifier.{part}.weight"], 2)
        assert float(norm) == pytest.approx(1, abs=1e-2)


def test_the_gradient_of_r4f_is_that_of_the_weight_over_its_largest_singular_value() -> None:
    from ftbench.training.spectral import SpectralHead

    torch.manual_seed(0)
    model = family_model("bert")
    weight = model.get_parameter("classifier.weight")
    weight.data = torch.randn_like(weight)
    features, factors = torch.randn(5, weight.shape[1]), torch.randn(5, weight.shape[0])
    exact = weight.detach().clone().requires_grad_()
    ((features @ (exact / torch.linalg.matrix_norm(exact, 2)).T) * factors).sum().backward()

    SpectralHead().attach(model)
    ((model.get_submodule("classifier")(features) - model.get_parameter("classifier.bias")) * factors).sum().backward()
    assert weight.grad is not None
    assert exact.grad is not None
    assert torch.allclose(weight.grad, exact.grad, atol=1e-4)


def test_the_saved_weights_of_r4f_give_the_predictions_of_the_trained_model() -> None:
    job, _ = prepared("r3f", settings())
    method = R3f(R3f.Config(spectral_head=True))
    method.prepare_model(job.context)
    job.methods = [method]
    outcome = train(job)
    assert outcome.weights is not None
    saved = tiny_model().eval()
    saved.load_state_dict(outcome.weights)
    inputs, trained_model = padded_batch().inputs, job.context.model.eval()
    with torch.no_grad():
        assert torch.allclose(saved(**inputs).logits, trained_model(**inputs).logits, atol=1e-5)
    assert not torch.allclose(trained_model.get_parameter("classifier.weight"), outcome.weights["classifier.weight"])


def test_r4f_resumes_to_the_same_weights(tmp_path: Path) -> None:
    def job(folder: Path | None) -> Job:
        made, _ = prepared("r3f", settings(), folder)
        made.methods = [R3f(R3f.Config(spectral_head=True))]
        made.methods[0].prepare_model(made.context)
        return made

    undisturbed, stopped = train(job(None)), job(tmp_path)
    _stop_after(stopped.methods[0], 5)
    with pytest.raises(Stopped):
        train(stopped)
    assert_equal_weights(undisturbed, train(job(tmp_path)))
