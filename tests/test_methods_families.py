"""Methods that read hidden states, swap weights or tell the head apart, on every supported family of models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from model_families import FAMILIES, family_model
from test_conformance import settings, tiny_data, tiny_rows

from ftbench.plugins import plugin
from ftbench.training.batches import EpochBatches
from ftbench.training.job import Job
from ftbench.training.loop import train
from ftbench.training.method import Context
from ftbench.training.weights import plain_state

STEPS = 2
METHODS: dict[str, dict[str, Any]] = {
    "l2_sp": {},
    "recadam": {"start": "random"},
    "mixout": {"share": 0.5},
    "extragradient": {"rule": "extra"},
    "activeness_aware": {},
    "shallow_ensemble": {"trees": 5},
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_every_family_and_saves_plain_weights(name: str, family: str) -> None:
    torch.set_num_threads(1)
    training = settings(steps=STEPS, warmup_share=0.0)
    factory = plugin("methods", name).factory
    method = factory(factory.Config(**METHODS[name]))
    model = family_model(family)
    context = Context(model, training, "classification", seed=1)
    rows = method.examples(tiny_rows(), context)
    method.prepare_model(context)
    context.initial = {key: value.clone() for key, value in plain_state(model).items()}
    batches = EpochBatches(tiny_data(rows), 8, 2, "length", 1, torch.device("cpu"))
    outcome = train(Job(context, [method], batches, STEPS, say=lambda _: None))
    assert all(np.isfinite(row["loss"]) for row in outcome.log)
    assert outcome.weights is not None
    plain = family_model(family)
    assert set(outcome.weights) == set(plain_state(plain))
    assert any(not torch.equal(value, outcome.weights[key]) for key, value in plain_state(plain).items())
