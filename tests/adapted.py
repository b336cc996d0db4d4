"""Tiny classifiers of every family with an adapter in them, for tests of what adapters promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from model_families import family_model
from test_conformance import settings, tiny_data

from ftbench.methods.base import Context, Method
from ftbench.plugins import plugin
from ftbench.training.artifact import Artifact, saved_form
from ftbench.training.batches import EpochBatches
from ftbench.training.inference import logits
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.weights import save_weights

LABELS = ["no", "yes", "maybe"]
CPU = torch.device("cpu")
STEPS = 3


def method(name: str, **config: Any) -> Method:
    factory = plugin("methods", name).factory
    built: Method = factory(factory.Config(**config))
    return built


def adapted(family: str, name: str, **config: Any) -> tuple[Context, Method]:
    """A family's model after P1 of one method."""
    torch.set_num_threads(1)
    training = settings(steps=STEPS, learning_rate=0.05, warmup_share=0.0, schedule="constant")
    context = Context(model=family_model(family), training=training, kind="classification", seed=1)
    adapter = method(name, **config)
    adapter.prepare_model(context)
    return context, adapter


def trained(context: Context, *methods: Method) -> Outcome:
    data = tiny_data()
    batches = EpochBatches(data, 8, 1, "length", 1, CPU)
    return train(Job(context, methods, batches, STEPS, say=lambda _: None))


def predicted(model: torch.nn.Module) -> np.ndarray:
    return logits(model, tiny_data(), CPU)


def trainable(model: torch.nn.Module, head: bool = True) -> int:
    """Numbers that train; `head: False` leaves out pooler and classifier."""
    from ftbench.training.layers import is_encoder

    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (head or is_encoder(name, model))
    )


def stored(family: str, folder: Path, outcome: Outcome, *methods: Method) -> Artifact:
    """The run as it lies on the disk: the base model's snapshot and the saved weights."""
    assert outcome.weights is not None
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "snapshot").is_dir():
        family_model(family).save_pretrained(folder / "snapshot")
    save_weights(outcome.weights, folder / "model.safetensors", saved_form(methods))
    plugs = tuple((item.name, item.config.model_dump(mode="json")) for item in methods)
    return Artifact(folder / "snapshot", folder / "model.safetensors", plugs)
