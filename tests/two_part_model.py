"""A pretrained part and a head of one linear layer each, on fixed vectors: small enough for closed formulas."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ftbench.config.study import Training
from ftbench.training.batches import Batch
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.method import Context, Method
from ftbench.training.weights import plain_state

STEPS, ROWS = 5, 8
WHOLE, UNEVEN = (0, ROWS), (0, 1, 4, ROWS)  # micro-batches: one, or three of 1, 3 and 4 rows


class TwoPart(torch.nn.Module):
    """tanh(body x) into a classifier of three labels."""

    base_model_prefix = "body"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = torch.nn.Linear(4, 6)
        self.classifier = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        return type("Output", (), {"logits": self.classifier(torch.tanh(self.body(x)))})()


def rows_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (rows, 4) and labels (rows,) of a step."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(ROWS, 4, generator=generator), torch.randint(0, 3, (ROWS,), generator=generator)


class Vectors:
    """The rows of each step, cut into micro-batches."""

    def __init__(self, cuts: tuple[int, ...] = WHOLE) -> None:
        self.steps_per_epoch, self.cuts = STEPS, cuts

    def step(self, number: int) -> list[Batch]:
        x, y = rows_of(number)
        return [
            Batch({"x": x[start:end], "attention_mask": torch.ones(1)}, y[start:end], np.arange(start, end))
            for start, end in pairwise(self.cuts)
        ]

    def epoch(self) -> list[Batch]:
        return [batch for number in range(1, STEPS + 1) for batch in self.step(number)]


def trained(*methods: Method, cuts: tuple[int, ...] = WHOLE, **changes: Any) -> tuple[TwoPart, Outcome]:
    """The model after `STEPS` steps of the loop, AdamW at a constant rate of 0.01 without clipping."""
    given = {"steps": STEPS, "learning_rate": 0.01, "warmup_share": 0.0, "schedule": "constant", "clip_norm": None}
    training = Training(**{**given, "weight_decay": 0.0, "evaluations": 0, "precision": "fp32", **changes})
    model = TwoPart()
    context = Context(model=model, training=training, kind="classification", seed=0)
    for method in methods:
        method.prepare_model(context)
    context.initial = {name: tensor.clone() for name, tensor in plain_state(model).items()}
    return model, train(Job(context, methods, Vectors(cuts), STEPS, say=lambda _: None))


def assert_same(model: torch.nn.Module, other: torch.nn.Module, tolerance: float = 1e-6) -> None:
    found = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter, found[name], atol=tolerance, rtol=0), name


def adam(parameters: Sequence[torch.nn.Parameter], rate: float = 0.01) -> torch.optim.Optimizer:
    """The plain optimiser that references in tests use."""
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
