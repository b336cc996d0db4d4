"""Consistency and adversarial methods against numbers of published implementations on a toy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from golden import ToyBatches, assert_toy_equal, case, needs_golden, run_toy, toy_model, toy_training
from torch.nn import functional

from ftbench.methods.freelb import FreeLb
from ftbench.methods.r3f import R3f
from ftbench.methods.r_drop import RDrop
from ftbench.methods.smart import Smart
from ftbench.training.batches import Batch
from ftbench.training.dropout import dropout_state
from ftbench.training.job import Job
from ftbench.training.loop import _Run
from ftbench.training.method import Context, Method

pytestmark = needs_golden


class ReplayedR3f(R3f):
    """R3F fed with the noise that the reference drew."""

    def __init__(self, config: R3f.Config, noise: torch.Tensor) -> None:
        super().__init__(config)
        self.given = noise

    def draw(self, batch: Batch, context: Context) -> torch.Tensor:
        return self.given[context.step - 1]


def test_r3f_equals_the_reference_step_by_step() -> None:
    stored = case("r3f")
    hyper = stored.content["hyper"]
    config = R3f.Config(weight=hyper["r3f_lambda"], epsilon=hyper["noise_eps"], distribution=hyper["noise_type"])
    method = ReplayedR3f(config, stored.inputs["noise"])
    assert_toy_equal(*run_toy(method, steps=8, warmup_share=1 / 8), stored.expected)


class ReplayedFreeLb(FreeLb):
    """FreeLB fed with the starts that the reference drew; keeps the perturbation and the loss of every pass."""

    def __init__(self, config: FreeLb.Config, starts: torch.Tensor) -> None:
        super().__init__(config)
        self.starts = starts
        self.perturbations: dict[int, list[torch.Tensor]] = {}
        self.losses: dict[int, list[float]] = {}

    def draw(self, batch: Batch, context: Context) -> torch.Tensor:
        self.perturbations[context.step] = [self.starts[context.step - 1]]
        return self.starts[context.step - 1]

    def ascend(self, perturbation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        moved = super().ascend(perturbation, gradient)
        self.perturbations[max(self.perturbations)].append(moved)
        return moved

    def gradients(self, batches: Any, backward: Any, context: Context) -> torch.Tensor:
        self.losses[context.step] = []

        def heard(batch: Batch) -> torch.Tensor:
            share: torch.Tensor = backward(batch)
            self.losses[context.step].append(float(share))
            return share

        return super().gradients(batches, heard, context)


def freelb(**changes: Any) -> ReplayedFreeLb:
    stored = case("freelb")
    hyper = stored.content["hyper"]
    config = FreeLb.Config(
        passes=hyper["K"], rate=hyper["adv_lr"], start=hyper["adv_init_mag"], max_norm=hyper["adv_max_norm"], **changes
    )
    return ReplayedFreeLb(config, stored.inputs["delta0"])


def test_freelb_equals_the_reference_step_by_step() -> None:
    expected, method = case("freelb").expected, freelb()
    assert_toy_equal(*run_toy(method, steps=8, warmup_share=1 / 8), expected)
    for step in (1, 8):
        last = expected[f"last_delta_step_{step:04d}"]
        assert torch.allclose(method.perturbations[step][-1], last, atol=2e-6, rtol=0)
        losses = torch.tensor(method.losses[step])
        assert torch.allclose(losses, expected["pass_loss"][step - 1].float(), atol=5e-6, rtol=0)


def test_freelb_in_the_form_of_boss_equals_its_gradients() -> None:
    stored, training = case("freelb_boss_gradient"), toy_training(steps=1, clip_norm=None)
    torch.set_num_threads(1)
    method = freelb(form="boss", dropout="independent")
    context = Context(model=toy_model(), training=training, kind="classification", seed=0)
    found: dict[str, torch.Tensor] = {}

    class Watch(Method):
        name = "watch"

        def gradients_ready(self, context: Context) -> None:
            named = context.model.named_parameters()
            found.update({name: value.grad.clone() for name, value in named if value.grad is not None})

    run = _Run(Job(context, [method, Watch(Watch.Config())], ToyBatches(), 1))
    run.begin_phase(0, 1)
    run.take_step(1)
    assert run.check_losses()
    (row,) = run.outcome.log
    assert row["loss"] == pytest.approx(float(stored.expected["loss"]), abs=1e-6)
    assert row["gradient_norm"] == pytest.approx(float(stored.expected["grad_norm"]), rel=1e-5)
    compared = 0
    for key, value in stored.expected.items():
        if key.startswith("grad/"):
            assert torch.allclose(found[key.removeprefix("grad/")], value, atol=2e-6, rtol=0), key
            compared += 1
    assert compared == 5


@pytest.mark.parametrize("pair", ["pair0", "pair1"])
@pytest.mark.parametrize("form", ["release-bert", "release-roberta"])
def test_the_release_forms_of_r_drop_equal_the_released_models(form: str, pair: str) -> None:
    stored = case("r_drop")
    first, second = (stored.inputs[f"{pair}/logits{number}"].clone().requires_grad_() for number in (1, 2))
    targets = stored.inputs[f"{pair}/labels"].long()
    loss = with_fixed_logits(RDrop.Config(form=form), first, second, targets)
    loss.backward()
    key = f"{pair}/{form.replace('-', '_')}"
    assert float(loss.detach()) == pytest.approx(float(stored.expected[f"{key}/loss"]), abs=5e-6)
    for tensor, number in ((first, 1), (second, 2)):
        assert tensor.grad is not None
        assert torch.allclose(tensor.grad, stored.expected[f"{key}/grad{number}"], atol=2e-6, rtol=0)


def with_fixed_logits(
    config: RDrop.Config, first: torch.Tensor, second: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """The loss of a micro-batch whose two passes give these logits (rows, labels)."""
    batch = Batch({}, targets, targets.numpy())
    context = Context(torch.nn.Linear(1, 1), toy_training(), "classification", 0, step=1)
    context.forward, context.task_loss = lambda _: second, _cross_entropy
    return RDrop(config).loss(functional.cross_entropy(first, targets), first, batch, context)


def _cross_entropy(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    assert batch.targets is not None
    return functional.cross_entropy(logits, batch.targets)


def test_r_drop_of_the_paper_equals_the_released_bert_form_at_half_the_batch_size() -> None:
    """The stored case states this identity: alpha = 0.5 B."""
    stored = case("r_drop")
    first, second = stored.inputs["pair0/logits1"], stored.inputs["pair0/logits2"]
    targets = stored.inputs["pair0/labels"].long()
    loss = with_fixed_logits(RDrop.Config(alpha=4.0), first, second, targets)
    assert float(loss) == pytest.approx(float(stored.expected["pair0/release_bert/loss"]), abs=5e-6)


class ReplayedSmart(Smart):
    """SMART fed with the start that the reference drew; keeps the perturbations that it found."""

    def __init__(self, config: Smart.Config, start: torch.Tensor) -> None:
        super().__init__(config)
        self.start = start
        self.found: list[torch.Tensor] = []

    def draw(self, batch: Batch, context: Context) -> torch.Tensor:
        return self.start

    def ascend(self, noise: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        self.found.append(super().ascend(noise, gradient))
        return self.found[-1]


@pytest.fixture
def one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    return


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("variant", "wiring"), [("word_embeddings", "word"), ("embedding_output", "layer")])
def test_the_released_adversary_of_smart_equals_the_reference(variant: str, wiring: str) -> None:
    stored = case("smart_inner_loop")
    hyper = stored.content["hyper"]
    config = Smart.Config(
        form="release", wiring=wiring, steps=hyper["K"], step_size=hyper["step_size"],
        noise_scale=hyper["noise_scale"], proximal_weight=0.0,
    )  # fmt: skip
    method = ReplayedSmart(config, stored.inputs["noise0"])
    model = toy_model().train()
    batch = ToyBatches().step(hyper["batch_index"] + 1)[0]
    context = Context(model, toy_training(), "classification", 0, step=1, total_steps=1)
    context.forward = lambda given: model(**given.inputs).logits
    context.dropout_state = dropout_state(torch.device("cpu"))
    logits = context.forward(batch)
    term = method.loss(torch.zeros(()), logits, batch, context)
    term.backward()
    expected = {key.partition("/")[2]: value for key, value in stored.expected.items() if key.startswith(variant)}
    assert torch.allclose(logits, expected["clean_logits"], atol=2e-6, rtol=0)
    assert len(method.found) == hyper["K"]
    assert torch.allclose(method.found[-1], expected["final_noise"], atol=2e-4, rtol=0)
    assert float(term.detach()) == pytest.approx(float(expected["loss"]), rel=1e-4)
    named, compared = dict(model.named_parameters()), 0
    for key, value in expected.items():
        if key.startswith("grad/"):
            gradient = named[key.removeprefix("grad/")].grad
            assert gradient is not None
            assert torch.allclose(gradient, value, atol=1e-5, rtol=0), key
            compared += 1
    assert compared == 4
