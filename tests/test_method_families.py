"""Methods that no other file puts on every family of models train there and save weights of the plain model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from model_families import SHAPES, family_model
from test_adapters import ADAPTERS
from test_conformance import METHODS, prepared, settings
from test_consistency_methods import CLASSES
from test_methods_variants import VARIANTS

from ftbench.config.load import load_study
from ftbench.training.loop import train
from ftbench.training.weights import plain_state

ELSEWHERE = {
    *ADAPTERS, *CLASSES, *(name for name, _ in VARIANTS),
    "bitfit", "child_tuning_d", "llrd", "re_init", "sift", "top_k_layers",
}  # fmt: skip


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ELSEWHERE])
def test_a_method_trains_every_family(name: str, family: str) -> None:
    model = family_model(family)
    before = {key: tensor.clone() for key, tensor in plain_state(model).items()}
    job, method = prepared(name, settings(steps=5), model=model)
    job.total_steps = 5
    outcome = train(job)
    assert all(np.isfinite(row["loss"]) for row in outcome.log)
    assert outcome.weights is not None
    if method.saves == "model":
        assert outcome.weights.keys() == before.keys()
        assert any(not np.array_equal(tensor, outcome.weights[key]) for key, tensor in before.items())


def test_the_study_of_every_method_has_every_method() -> None:
    study = load_study("methods_demo", Path(__file__).parents[1]).study
    assert set(METHODS) <= {name for method in study.methods for name in study.entry(method).use or [method]}
