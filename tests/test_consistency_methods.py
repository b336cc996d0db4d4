"""Consistency and adversarial methods on all families of models, turned off, and next to each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from family_training import losses, padded_batch, trained
from model_families import FAMILIES, family_model
from test_conformance import prepared, run, settings

from ftbench.config.study import Training
from ftbench.methods.base import Context, Method
from ftbench.methods.freelb import FreeLb
from ftbench.methods.lnsr import Lnsr
from ftbench.methods.r3f import R3f
from ftbench.methods.r_drop import RDrop
from ftbench.methods.smart import Smart
from ftbench.methods.vanilla import Vanilla
from ftbench.training.batches import Batch
from ftbench.training.consistency import disagreement
from ftbench.training.embeddings import embedding_shape, shifted
from ftbench.training.loop import train

CLASSES: dict[str, type[Method]] = {"r3f": R3f, "r_drop": RDrop, "smart": Smart, "lnsr": Lnsr, "freelb": FreeLb}
OFF = {
    "r3f": {"weight": 0.0},
    "smart": {"weight": 0.0, "proximal_weight": 0.0},
    "lnsr": {"weight": 0.0},
    "freelb": {"passes": 1, "start": 0.0},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", CLASSES)
def test_a_method_trains_every_family(name: str, family: str) -> None:
    plain = trained(family, [Vanilla(Vanilla.Config())])
    outcome = trained(family, [CLASSES[name](CLASSES[name].Config())])
    assert outcome.weights is not None
    assert plain.weights is not None
    assert outcome.weights.keys() == plain.weights.keys()
    assert all(math.isfinite(loss) for loss in losses(outcome))


@pytest.mark.parametrize("name", CLASSES)
def test_a_method_trains_a_regression(name: str) -> None:
    outcome = trained("bert", [CLASSES[name](CLASSES[name].Config())], kind="regression")
    assert all(math.isfinite(loss) for loss in losses(outcome))


@pytest.mark.parametrize("name", OFF)
def test_a_method_that_is_turned_off_is_plain_fine_tuning_bit_for_bit(name: str) -> None:
    job, _ = prepared(name, settings())
    job.methods = [CLASSES[name](CLASSES[name].Config(**OFF[name]))]
    plain, other = run("vanilla"), train(job)
    assert plain.weights is not None
    assert other.weights is not None
    for key, tensor in plain.weights.items():
        assert torch.equal(tensor, other.weights[key]), key


@pytest.mark.parametrize("name", ["r3f", "r_drop", "smart", "lnsr"])
def test_further_passes_leave_the_dropout_of_the_next_micro_batch_alone(name: str) -> None:
    def second_pass(methods: list[Method]) -> torch.Tensor:
        found: list[torch.Tensor] = []

        class Watch(Method):
            name = "watch"

            def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
                found.append(logits.detach().clone())
                return loss

        trained("bert", [*methods, Watch(Watch.Config())], parts=2, steps=1)
        return found[1]

    assert torch.equal(second_pass([CLASSES[name](CLASSES[name].Config())]), second_pass([]))


def test_the_disagreement_is_the_sum_of_both_kl_divergences() -> None:
    from scipy.stats import entropy

    first, second = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
    expected = [
        entropy(one, other) + entropy(other, one)
        for one, other in zip(first.softmax(1).numpy(), second.softmax(1).numpy(), strict=True)
    ]
    assert np.allclose(disagreement(first, second, "classification"), expected, atol=1e-6)
    assert disagreement(first, first, "classification").abs().max() == 0
    assert torch.equal(disagreement(first[:, :1], second[:, :1], "regression"), (first - second)[:, 0] ** 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shift_of_the_embeddings_acts_as_if_the_table_held_it(family: str) -> None:
    """The same vector added to every position equals a table with that vector added to every row."""
    model, batch = family_model(family).eval(), padded_batch()
    shape = embedding_shape(model, batch)
    vector = torch.randn(shape[-1], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = model(**batch.inputs).logits
        with shifted(model, vector.expand(shape)):
            moved = model(**batch.inputs).logits
        table = model.get_input_embeddings()
        assert isinstance(table, torch.nn.Embedding)
        table.weight += vector
        expected = model(**batch.inputs).logits
        table.weight -= vector
        after = model(**batch.inputs).logits
    assert torch.allclose(moved, expected, atol=1e-5)
    assert not torch.allclose(moved, plain, atol=1e-3)
    assert torch.allclose(after, plain, atol=1e-5)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_r_drop_without_dropout_is_twice_the_loss(kind: str) -> None:
    plain = trained("llama", [], kind)  # comes without dropout
    twice = trained("llama", [RDrop(RDrop.Config(alpha=5.0))], kind)
    assert losses(twice)[0] == pytest.approx(2 * losses(plain)[0], rel=1e-5)
    assert RDrop.check(RDrop.Config(), Training(dropout=0.0), kind, [])


def test_the_release_forms_of_r_drop_do_not_change_with_accumulation() -> None:
    whole, parts = (trained("llama", [RDrop(RDrop.Config(form="release-bert"))], parts=parts) for parts in (1, 3))
    assert np.allclose(losses(whole), losses(parts), atol=1e-5)
