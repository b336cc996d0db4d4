"""Training and predicting on a GPU: the processor's results, its own precision, and memory that really runs out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
from placing import PLACE, fresh_accelerate
from project import Project
from test_conformance import METHODS, prepared, settings
from test_memory import without_dropout

from ftbench.plugins import plugins
from ftbench.training.inference import BATCH_TOLERANCE, logits
from ftbench.training.job import Outcome
from ftbench.training.loop import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
CPU = torch.device("cpu")
# noise of a step, or a mask of its own in each step, is drawn on the device
ALIKE = [name for name in METHODS if not plugins("methods")[name].factory.draws_noise and name != "child_tuning_f"]
ROW = 64 * 2**20  # bytes that a row takes in the test of too little memory


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    with fresh_accelerate():
        yield


def trained(name: str, place: torch.device) -> Outcome:
    """A run in single precision; dropout is off, because the two devices draw differently."""
    job = without_dropout(name, place)
    job.context.training = job.context.training.model_copy(update={"learning_rate": 5e-3})
    with fresh_accelerate():
        return train(job)


@pytest.mark.parametrize("name", ALIKE)
def test_a_method_learns_on_a_gpu_what_it_learns_on_the_processor(name: str) -> None:
    here, there = trained(name, PLACE), trained(name, CPU)
    losses = [np.array([row["loss"] for row in outcome.log]) for outcome in (here, there)]
    assert np.allclose(*losses, atol=2e-3)


def test_the_precision_of_a_gpu_is_bf16_unless_another_is_asked_for() -> None:
    assert train(prepared("vanilla", settings(precision="auto"))[0]).precision == "bf16"


def test_fp16_scales_its_loss_and_learns() -> None:
    outcome = train(prepared("vanilla", settings(precision="fp16", learning_rate=5e-3))[0])
    losses = [row["loss"] for row in outcome.log]
    assert outcome.precision == "fp16"
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_logits_of_a_gpu_are_those_of_the_processor() -> None:
    job = prepared("vanilla", settings())[0]
    found = logits(job.context.model, job.batches.data, PLACE)
    assert np.abs(found - logits(job.context.model.to(CPU), job.batches.data, CPU)).max() <= BATCH_TOLERANCE


def test_a_step_that_does_not_fit_is_done_in_parts_and_learns_the_same() -> None:
    whole = train(without_dropout("vanilla", PLACE))
    job = without_dropout("vanilla", PLACE)

    def take(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        torch.empty(len(kwargs["input_ids"]) * ROW, dtype=torch.uint8, device=PLACE)

    handle = job.context.model.register_forward_pre_hook(take, with_kwargs=True)
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 3 * ROW  # of the 8 rows of a batch
    torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(PLACE).total_memory)
    try:
        parted = train(job)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        handle.remove()
    assert parted.parts == 4
    losses = [[row["loss"] for row in outcome.log] for outcome in (whole, parted)]
    assert np.allclose(*losses, atol=1e-3)


def test_a_study_records_the_gpu_and_its_memory(finished: Project) -> None:
    runs = pd.read_parquet(finished.results / "tables" / "runs.parquet")
    assert set(runs["device"]) == {torch.cuda.get_device_name()}
    assert (runs["peak_memory_bytes"] > 0).all()
