"""Reference numbers of published implementations, where they lie beside the checkout; absent, tests skip."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ftbench.config.study import Training
from ftbench.training.batches import Batch
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.method import Context, Method
from ftbench.training.weights import plain_state

FOLDER = Path(os.environ.get("FTBENCH_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))

needs_golden = pytest.mark.skipif(
    not (FOLDER / "index.json").is_file(), reason=f"no reference numbers at {FOLDER}; set FTBENCH_GOLDEN"
)


@dataclass
class Case:
    """One case: hyper-parameters, stored draws, and expected tensors."""

    content: dict[str, Any]
    expected: dict[str, torch.Tensor]
    inputs: dict[str, torch.Tensor]


def case(name: str) -> Case:
    folder = FOLDER / name
    inputs = folder / "inputs.safetensors"
    return Case(
        json.loads((folder / "case.json").read_text()),
        load_file(str(folder / "expected.safetensors")) if (folder / "expected.safetensors").is_file() else {},
        load_file(str(inputs)) if inputs.is_file() else {},
    )


class ToyBatches:
    """The stored batches: step t uses batch t-1."""

    def __init__(self) -> None:
        self.stored = load_file(str(FOLDER / "toy" / "batches.safetensors"))
        self.steps_per_epoch = len(self.stored["labels"])

    def step(self, number: int) -> list[Batch]:
        inputs = {name: tensor[number - 1].long() for name, tensor in self.stored.items() if name != "labels"}
        return [Batch(inputs, self.stored["labels"][number - 1].long(), np.arange(8))]

    def epoch(self) -> list[Batch]:
        return [self.step(number)[0] for number in range(1, self.steps_per_epoch + 1)]


def toy_model() -> torch.nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    toy = json.loads((FOLDER / "toy" / "toy.json").read_text())
    model = BertForSequenceClassification(BertConfig(**toy["config"], attn_implementation="eager"))
    model.load_state_dict(load_file(str(FOLDER / "toy" / "initial.safetensors")), strict=False)
    return model


class Recorder(Method):
    """Writes down the weights after every step; sits last in the list of methods."""

    name = "recorder"
    summary = "keeps the weights of every step"

    def __init__(self) -> None:
        super().__init__(self.Config())
        self.weights: dict[int, dict[str, torch.Tensor]] = {}

    def after_step(self, context: Context) -> None:
        self.weights[context.step] = {name: p.detach().clone() for name, p in context.model.named_parameters()}


class OldAdamW(Method):
    """AdamW of older transformers: epsilon beside the uncorrected root, decay after the move on the moved weight."""

    name = "old_adamw"
    summary = "the optimiser of some reference codes"

    def __init__(self) -> None:
        super().__init__(self.Config())

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
        (b1, b2), eps = context.training.betas, context.training.epsilon

        def step(closure: Any = None) -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is None:
                        continue
                    state = optimizer.state[parameter]
                    if not state:
                        state.update(t=0, m=torch.zeros_like(parameter), v=torch.zeros_like(parameter))
                    state["t"] += 1
                    state["m"].mul_(b1).add_(parameter.grad, alpha=1 - b1)
                    state["v"].mul_(b2).addcmul_(parameter.grad, parameter.grad, value=1 - b2)
                    size = group["lr"] * (1 - b2 ** state["t"]) ** 0.5 / (1 - b1 ** state["t"])
                    with torch.no_grad():
                        parameter.sub_(size * state["m"] / (state["v"].sqrt() + eps))
                        parameter.mul_(1 - group["lr"] * group["weight_decay"])

        optimizer.step = step  # type: ignore[method-assign,assignment]
        return optimizer


def unpacked(bits: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Masks from bytes: row-major, the least significant bit first."""
    flat = np.unpackbits(bits.numpy(), bitorder="little")[: shape.numel()]
    return torch.from_numpy(flat.astype(bool)).reshape(shape)


def toy_training(**changes: Any) -> Training:
    """The protocol of the toy cases: AdamW 5e-4, decay 0.01, clipping 1, warm-up 4 of 40 steps."""
    settings = {"steps": 40, "batch_size": 8, "learning_rate": 5e-4, "warmup_share": 0.1, "precision": "fp32"}
    return Training(**{**settings, "evaluations": 0, **changes})


def run_toy(*methods: Method, batches: ToyBatches | None = None, **changes: Any) -> tuple[Recorder, Outcome]:
    """The toy model trained with `methods`; one thread, as the numbers were made."""
    torch.set_num_threads(1)
    training = toy_training(**changes)
    recorder = Recorder()
    context = Context(model=toy_model(), training=training, kind="classification", seed=0)
    for method in methods:
        method.prepare_model(context)
    context.initial = {name: tensor.clone() for name, tensor in plain_state(context.model).items()}
    outcome = train(Job(context, [*methods, recorder], batches or ToyBatches(), training.steps or 40))
    return recorder, outcome


def assert_toy_equal(recorder: Recorder, outcome: Outcome, expected: dict[str, torch.Tensor]) -> None:
    """The tolerances of the reference set: 99.9 % of entries within 2e-6, none beyond 1e-4."""
    ignored = json.loads((FOLDER / "toy" / "toy.json").read_text())["ill_conditioned"]["tensors"]
    differences = []
    for key, tensor in expected.items():
        step, _, name = key.partition("/")
        if step.startswith("step_") and name not in ignored:
            differences.append((recorder.weights[int(step[5:])][name] - tensor).abs().flatten())
    difference = torch.cat(differences)
    assert (difference <= 2e-6).float().mean() >= 0.999
    assert difference.max() <= 1e-4
    losses = torch.tensor([row["loss"] for row in outcome.log])
    assert torch.allclose(losses, expected["loss"].float(), atol=5e-6, rtol=0)
    norms = torch.tensor([row["gradient_norm"] for row in outcome.log])
    assert torch.allclose(norms, expected["grad_norm"].float(), rtol=1e-5, atol=0)
    rates = torch.tensor([row["learning_rate"] for row in outcome.log])
    assert torch.allclose(rates, expected["lr"].float(), rtol=1e-6, atol=0)
