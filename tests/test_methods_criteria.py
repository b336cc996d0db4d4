"""Methods that replace the criterion: reference numbers, closed formulas, limiting cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import case, needs_golden
from test_conformance import prepared, run, settings, tiny_model, tiny_rows
from torch.nn import functional

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.methods.eda import Eda
from ftbench.methods.focal import Focal
from ftbench.methods.label_smoothing import LabelSmoothing
from ftbench.methods.shallow_ensemble import GATE, LEAST, ShallowEnsemble, mixin_loss
from ftbench.training.batches import Batch
from ftbench.training.examples import Examples
from ftbench.training.loop import train
from ftbench.training.method import Context, Method
from ftbench.training.shallow import shallow_probabilities

CONTEXT = Context(torch.nn.Module(), Training(), "classification", seed=0)


def batch_of(labels: torch.Tensor) -> Batch:
    return Batch({}, labels.long(), np.arange(len(labels)))


def loss_and_gradient(method: Method, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    given = logits.clone().requires_grad_()
    loss = method.criterion(given, batch_of(labels), CONTEXT)
    (gradient,) = torch.autograd.grad(loss, given)
    return loss.detach(), gradient


@needs_golden
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_equals_the_reference(weighted: bool) -> None:
    stored = case("focal")
    hyper = stored.content["hyper"]
    weights = tuple(hyper["class_weight"]) if weighted else None
    method = Focal(Focal.Config(gamma=hyper["gamma"], class_weights=weights))
    loss, gradient = loss_and_gradient(method, stored.inputs["logits"], stored.inputs["labels"])
    key = "focal_class_weight" if weighted else "focal"
    assert torch.allclose(loss, stored.expected[f"{key}/loss"], atol=2e-6)
    assert torch.allclose(gradient, stored.expected[f"{key}/grad"], atol=2e-6)


@needs_golden
def test_label_smoothing_equals_the_reference() -> None:
    stored = case("label_smoothing")
    method = LabelSmoothing(LabelSmoothing.Config(smoothing=stored.content["hyper"]["epsilon"]))
    loss, gradient = loss_and_gradient(method, stored.inputs["logits"], stored.inputs["labels"])
    assert torch.allclose(loss, stored.expected["loss"], atol=2e-6)
    assert torch.allclose(gradient, stored.expected["grad"], atol=2e-6)


def test_smoothing_spreads_mass_over_all_labels_the_true_one_included() -> None:
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    logs = torch.log_softmax(logits, dim=-1)
    expected = -(0.7 * logs[torch.arange(7), labels] + 0.3 / 4 * logs.sum(dim=1)).mean()
    loss, _ = loss_and_gradient(LabelSmoothing(LabelSmoothing.Config(smoothing=0.3)), logits, labels)
    assert torch.allclose(loss, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "uniform"),
    [
        (Focal(Focal.Config(gamma=3.0)), (3 / 4) ** 3 * np.log(4)),
        (LabelSmoothing(LabelSmoothing.Config(smoothing=0.4)), np.log(4)),
    ],
    ids=["focal", "smoothing"],
)
def test_the_loss_of_a_uniform_prediction_is_known(method: Method, uniform: float) -> None:
    loss, _ = loss_and_gradient(method, torch.zeros(5, 4), torch.tensor([0, 1, 2, 3, 0]))
    assert float(loss) == pytest.approx(uniform, abs=1e-6)


@pytest.mark.parametrize(
    "method",
    [Focal(Focal.Config(gamma=0.0)), LabelSmoothing(LabelSmoothing.Config(smoothing=0.0))],
    ids=["focal", "smoothing"],
)
def test_switched_off_it_is_cross_entropy(method: Method) -> None:
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(2)) * 5, torch.tensor([0, 1, 2, 0, 1, 2])
    loss, gradient = loss_and_gradient(method, logits, labels)
    given = logits.clone().requires_grad_()
    plain = functional.cross_entropy(given, labels)
    assert torch.allclose(loss, plain, atol=1e-6)
    assert torch.allclose(gradient, torch.autograd.grad(plain, given)[0], atol=1e-6)


def test_focal_loss_of_a_sure_prediction_keeps_its_digits() -> None:
    """1 - p is e^-30 / (1 + e^-30), far below what 1 - p can hold in single precision."""
    loss, gradient = loss_and_gradient(Focal(Focal.Config(gamma=1.0)), torch.tensor([[30.0, 0.0]]), torch.tensor([0]))
    assert float(loss) == pytest.approx(np.exp(-60), rel=1e-3)
    assert torch.isfinite(gradient).all()


def test_focal_weights_for_another_number_of_labels_are_refused() -> None:
    method = Focal(Focal.Config(class_weights=(1.0, 2.0)))
    with pytest.raises(FtbenchError, match="found 2 numbers; expected one for each of the 3 labels"):
        method.criterion(torch.zeros(2, 3), batch_of(torch.tensor([0, 1])), CONTEXT)


@pytest.mark.parametrize("method", [Focal, LabelSmoothing, ShallowEnsemble])
def test_a_regression_is_refused(method: type[Method]) -> None:
    assert method.check(method.Config(), Training(), "regression", [])
    assert not method.check(method.Config(), Training(), "classification", [])


@needs_golden
@pytest.mark.parametrize("variant", ["original_log_probabilities", "boss_probabilities"])
def test_the_learned_mixin_loss_equals_the_references(variant: str) -> None:
    stored = case("shallow_ensemble")
    table = stored.inputs["bias_probability"]
    bias = table.log() if variant == "original_log_probabilities" else table
    given = {key: stored.inputs[key].clone().requires_grad_() for key in ("logits", "hidden", "weight", "offset")}
    gate = given["hidden"] @ given["weight"].T + given["offset"]
    penalty = stored.content["hyper"]["entropy_penalty"]
    loss = mixin_loss(given["logits"], gate, bias, stored.inputs["labels"].long(), penalty)
    gradients = torch.autograd.grad(loss, list(given.values()))
    assert torch.allclose(loss, stored.expected[f"{variant}/loss"], atol=2e-6)
    for key, gradient in zip(("logits", "hidden", "weight", "bias"), gradients, strict=True):
        assert torch.allclose(gradient, stored.expected[f"{variant}/grad_{key}"], atol=2e-6), key


def test_shallow_predictions_are_of_rows_that_the_forest_did_not_see() -> None:
    """Labels drawn at random: a forest knows the rows it was fitted on and nothing about the others."""
    generator = np.random.default_rng(1)
    texts = [" ".join(f"word{number}" for number in generator.integers(0, 200, 12)) for _ in range(120)]
    targets = generator.integers(0, 3, 120)
    rows = np.arange(120)
    seen, unseen = (shallow_probabilities(texts, targets, 3, 5000, 20, folds, seed=1) for folds in (1, 5))
    assert seen[rows, targets].mean() > 0.65
    assert abs(unseen[rows, targets].mean() - 1 / 3) < 0.08
    assert np.allclose(unseen.sum(axis=1), 1, atol=1e-6)
    assert np.array_equal(unseen, shallow_probabilities(texts, targets, 3, 5000, 20, 5, seed=1))


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(FtbenchError, match="found no word in 4 training texts"):
        shallow_probabilities(["!", "?", ".", ","], np.array([0, 1, 0, 1]), 2, 10, 5, 2, seed=1)


def test_the_shallow_table_follows_the_rows_of_the_training_set_and_both_texts() -> None:
    rows = tiny_rows()
    pairs = Examples(rows.uids, ["same words"] * len(rows), rows.text_a, rows.targets)
    tables = []
    for examples in (rows, pairs):
        method = ShallowEnsemble(ShallowEnsemble.Config(folds=1, trees=20))
        assert method.examples(examples, Context(tiny_model(), settings(), "classification", seed=1)) is examples
        assert method.table is not None
        tables.append(method.table)
    for table in tables:
        assert table.shape == (40, 3)
        assert float(table.min()) >= np.log(LEAST) - 1e-5
        assert (table.argmax(dim=1).numpy() == rows.targets).mean() > 0.9  # row by row, not by batch


def test_a_uniform_shallow_model_without_penalty_is_plain_fine_tuning() -> None:
    job, method = prepared("shallow_ensemble", settings())
    assert isinstance(method, ShallowEnsemble)
    method.config = ShallowEnsemble.Config(entropy_penalty=0.0)
    assert method.table is not None
    method.table = torch.full_like(method.table, -np.log(3))
    found, plain = train(job), run("vanilla")
    assert found.weights is not None
    assert plain.weights is not None
    for name, value in plain.weights.items():
        if not name.endswith("key.bias"):  # exact gradient 0: Adam turns rounding into drift
            assert torch.allclose(value, found.weights[name], atol=1e-5), name


def test_the_gate_is_trained_and_dropped_from_what_is_saved() -> None:
    job, _ = prepared("shallow_ensemble", settings())
    outcome = train(job)
    assert outcome.weights is not None
    assert not [name for name in outcome.weights if name.startswith(GATE)]
    assert job.context.model.get_submodule(GATE).weight.abs().sum() > 0


def test_a_companion_that_adds_rows_is_refused() -> None:
    assert ShallowEnsemble.check(ShallowEnsemble.Config(), Training(), "classification", [Eda])
