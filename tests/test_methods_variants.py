"""Other settings than the defaults: on every family of models, stopped and resumed, and across a skipped step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_families import FAMILIES, family_model
from test_conformance import _stop_after, assert_equal_weights, settings, tiny_data, tiny_model, tiny_rows

from ftbench.outputs import Stopped
from ftbench.plugins import plugin
from ftbench.training.batches import EpochBatches
from ftbench.training.checkpoint import Checkpoints
from ftbench.training.job import Job
from ftbench.training.loop import _Run, train
from ftbench.training.method import Context, Method
from ftbench.training.weights import plain_state

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("l2_sp", {"rule": "decoupled", "scope": "all", "head": "anchor"}),
    ("recadam", {"start": "random", "midpoint_steps": 1}),
    ("mixout", {"share": 0.5, "head": True}),
    ("extragradient", {"rule": "extra"}),
    ("activeness_aware", {"norm": "tensor"}),
    ("shallow_ensemble", {"trees": 5, "bias": "probabilities"}),
]
each_variant = pytest.mark.parametrize(("name", "config"), VARIANTS, ids=[name for name, _ in VARIANTS])


def job_of(name: str, config: dict[str, Any], model: torch.nn.Module, steps: int, folder: Path | None = None) -> Job:
    """Two micro-batches a step; a checkpoint after every step where a folder is given."""
    torch.set_num_threads(1)
    training = settings(steps=steps, accumulation=2)
    factory = plugin("methods", name).factory
    method = factory(factory.Config(**config))
    context = Context(model, training, "classification", seed=1)
    rows = method.examples(tiny_rows(), context)
    method.prepare_model(context)
    context.initial = {key: value.clone() for key, value in plain_state(model).items()}
    batches = EpochBatches(tiny_data(rows), 8, 2, "length", 1, torch.device("cpu"))
    stored = Checkpoints(folder) if folder else None
    return Job(context, [method], batches, steps, None, stored, checkpoint_seconds=0.0, say=lambda _: None)


@pytest.mark.parametrize("family", FAMILIES)
@each_variant
def test_a_method_trains_every_family_and_saves_plain_weights(name: str, config: dict[str, Any], family: str) -> None:
    outcome = train(job_of(name, config, family_model(family), 3))
    assert all(np.isfinite(row["loss"]) for row in outcome.log)
    assert outcome.weights is not None
    plain = plain_state(family_model(family))
    assert set(outcome.weights) == set(plain)
    assert any(not torch.equal(value, outcome.weights[key]) for key, value in plain.items())


@each_variant
def test_a_stopped_run_resumes_to_the_same_weights(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    undisturbed = train(job_of(name, config, tiny_model(), 5))
    stopped = job_of(name, config, tiny_model(), 5, tmp_path)
    _stop_after(stopped.methods[0], 3)
    with pytest.raises(Stopped):
        train(stopped)
    resumed = train(job_of(name, config, tiny_model(), 5, tmp_path))
    assert len(resumed.log) == 5
    assert_equal_weights(undisturbed, resumed)


class Watch(Method):
    """Keeps the weights that each step begins with; stands first in the list."""

    name = "watch"

    def __init__(self) -> None:
        super().__init__(self.Config())
        self.weights: list[dict[str, torch.Tensor]] = []

    def begin_passes(self, context: Context) -> None:
        self.weights.append({name: value.detach().clone() for name, value in context.model.named_parameters()})


@pytest.mark.parametrize(
    ("name", "config"), [("extragradient", {}), *(each for each in VARIANTS if each[1] != VARIANTS[3][1])]
)
def test_a_step_whose_gradients_overflow_changes_no_weight(
    name: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half precision skips such a step; here step 3 is declared to be one."""
    begin_phase = _Run.begin_phase

    def begin(run: _Run, phase: int, steps: int) -> None:
        begin_phase(run, phase, steps)
        run.outcome.precision = "fp16"
        step = run.optimizer.step
        run.optimizer.step = lambda: None if run.context.step == 3 else step()

    monkeypatch.setattr(_Run, "begin_phase", begin)
    monkeypatch.setattr(_Run, "finite_gradients", lambda run: run.context.step != 3)
    job = job_of(name, config, tiny_model(), 5)
    watch = Watch()
    job.methods = [watch, *job.methods]
    outcome = train(job)
    assert [row["skipped"] for row in outcome.log] == [False, False, True, False, False]
    second, third, fourth, fifth = watch.weights[1:5]
    same = [all(torch.equal(one[key], two[key]) for key in one) for one, two in ((third, fourth), (fourth, fifth))]
    assert same == [True, False]
    assert not all(torch.equal(second[key], third[key]) for key in third)
