"""Short runs of methods with settings of their own, on the conformance model and on every model family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from model_families import family_model
from test_conformance import STEPS, prepared, settings

from ftbench.methods.base import Context, Method
from ftbench.methods.vanilla import Vanilla
from ftbench.plugins import plugins
from ftbench.training.batches import EpochBatches
from ftbench.training.examples import Encoded
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.weights import plain_state

Weights = dict[str, torch.Tensor]


def made(name: str, **config: Any) -> Method:
    """A method plug-in with these settings."""
    factory = plugins("methods")[name].factory
    method: Method = factory(factory.Config(**config))
    return method


def start() -> Weights:
    """The weights that runs on the conformance model begin with."""
    return {
        name: tensor.clone() for name, tensor in plain_state(prepared("vanilla", settings())[0].context.model).items()
    }


def job(*methods: Method, steps: int = STEPS, **training: Any) -> Job:
    """A job on the conformance model; `training` overrides its settings."""
    made_job, _ = prepared("vanilla", settings(steps=steps, **training))
    made_job.methods, made_job.total_steps = list(methods), steps
    context = made_job.context
    for method in methods:
        method.prepare_model(context)
    context.initial = {name: tensor.clone() for name, tensor in plain_state(context.model).items()}
    return made_job


def outcome(*methods: Method, steps: int = STEPS, **training: Any) -> Outcome:
    return train(job(*methods, steps=steps, **training))


def weights(*methods: Method, steps: int = STEPS, **training: Any) -> Weights:
    """The weights at the end of a run."""
    found = outcome(*methods, steps=steps, **training).weights
    assert found is not None
    return found


def family_job(family: str, *methods: Method, steps: int = 3, labels: int = 3, seed: int = 1) -> Job:
    """A few steps of a family's tiny model; it is prepared by the methods, and not yet trained."""
    torch.set_num_threads(1)
    training = settings(steps=steps, warmup_share=0.0)
    context = Context(model=family_model(family, labels), training=training, kind="classification", seed=seed)
    for method in methods:
        method.prepare_model(context)
    context.initial = {name: tensor.clone() for name, tensor in plain_state(context.model).items()}
    generator = np.random.default_rng(5)
    lengths = generator.integers(4, 12, 24)
    ids = [generator.integers(20, 60, length) for length in lengths]
    data = Encoded(ids, None, generator.integers(0, labels, 24), lengths, 0)
    batches = EpochBatches(data, 8, 1, "length", 1, torch.device("cpu"))
    return Job(context, list(methods), batches, steps, say=lambda _: None)


def assert_same(first: Weights, second: Weights, tolerance: float = 0.0) -> None:
    """Equal bit for bit, or within `tolerance`; key biases have gradient 0, and Adam turns rounding into drift."""
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if tolerance and name.endswith("key.bias"):
            continue
        assert torch.allclose(tensor, second[name], atol=tolerance, rtol=0), name


def changed(before: Weights, after: Weights) -> set[str]:
    """Names of the tensors in which any entry differs."""
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


class Frozen(Vanilla):
    """Freezes what `frozen` names, as a companion of the method under test."""

    def __init__(self, frozen: Callable[[str], bool]) -> None:
        super().__init__(Vanilla.Config())
        self.frozen = frozen

    def prepare_model(self, context: Context) -> None:
        for name, parameter in context.model.named_parameters():
            if self.frozen(name):
                parameter.requires_grad_(False)


def close(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Which entries are within the tolerance of the reference set; none may be far off."""
    difference = (found - expected).abs().flatten()
    assert difference.max() <= 1e-4
    return difference <= 2e-6
