"""The method `rehearsal` and its relative `der` in whole trainings: losses, budgets, counts, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prior_rows import tiny_prior
from test_conformance import _stop_after, assert_equal_weights, prepared, run, settings

from ftbench.config.errors import FtbenchError
from ftbench.methods.der import Der
from ftbench.methods.rehearsal import SAMPLERS, Rehearsal
from ftbench.outputs import Stopped
from ftbench.training.batches import Batch, EpochBatches
from ftbench.training.job import Job
from ftbench.training.layers import is_encoder
from ftbench.training.loop import train
from ftbench.training.prior_task import PriorModel, PriorTask


def job_with(name: str = "rehearsal", folder: Path | None = None, **config: Any) -> tuple[Job, Rehearsal]:
    """A job of the conformance tests with other settings; dropout is off."""
    job, method = prepared(name, settings(**config.pop("training", {})), folder)
    method.config = type(method).Config(**config)
    for module in job.context.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    assert isinstance(method, Rehearsal)
    batches = job.batches
    assert isinstance(batches, EpochBatches)
    batches.batch_size = method.new_rows(batches.batch_size)
    return job, method


@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_loss_is_the_mean_over_new_and_rehearsed_rows(weight: float, accumulation: int) -> None:
    training = {"steps": 1, "accumulation": accumulation}
    job, method = job_with(sampler="random", ratio=1 / 3, prior_weight=weight, training=training)
    job.total_steps = 1
    micro = job.batches.step(1)
    with torch.no_grad():
        new = [torch.nn.functional.cross_entropy(job.context.model(**b.inputs).logits, b.targets) for b in micro]
    mean_new = float(torch.stack(new).mean())
    outcome = train(job)
    assert len(method.rows) == 4
    prior = job.context.prior
    assert prior is not None
    # the weights have moved by now; take the ones that the statistics were made with
    losses = prior.losses[method.rows]
    expected = (8 * mean_new + weight * 4 * losses.mean()) / 12
    assert outcome.log[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_without_rows_the_run_is_plain_fine_tuning() -> None:
    for config in ({"sampler": "none"}, {"ratio": 0.0}, {"sampler": "none", "budget": "swap"}):
        job, method = prepared("rehearsal", settings())
        method.config = Rehearsal.Config(**config)
        assert_equal_weights(train(job), run("vanilla"))


def test_rehearsal_keeps_more_of_the_prior_task_than_plain_fine_tuning() -> None:
    kept = []
    for sampler in ("none", "random"):
        job, _ = job_with(sampler=sampler, ratio=0.5, training={"learning_rate": 5e-3, "steps": 60})
        job.total_steps = 60
        job.context.prior = tiny_prior(job.context.model, correct=np.ones(60, dtype=bool))
        model = PriorModel(job.context)
        train(job)
        batch = job.context.prior.batch(np.arange(60), "cpu")
        kept.append(float((~job.context.prior.wrong(model.logits(job.context, batch), batch)).mean()))
    assert kept[1] > kept[0] + 0.1


@pytest.mark.parametrize(("budget", "new", "rehearsed"), [("add", 8, 24), ("swap", 6, 24)])
def test_both_budgets_train_on_the_rows_that_they_promise(budget: str, new: int, rehearsed: int) -> None:
    ratio = 0.2 if budget == "add" else 0.25
    job, method = job_with(budget=budget, ratio=ratio)
    outcome = train(job)
    assert outcome.log[0]["rows"] == new
    assert method.record()["rehearsed_rows"] == rehearsed  # 2 rows in each of 12 steps


def test_a_fraction_of_a_row_comes_up_every_few_steps() -> None:
    job, method = job_with(ratio=1 / 33)  # a quarter of a row beside the 8 new ones
    train(job)
    assert method.record()["rehearsed_rows"] == 3


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_trains_and_charges_its_passes(sampler: str) -> None:
    job, method = job_with(sampler=sampler, ratio=0.2, candidates=10, refresh=5, training={"steps": 6})
    job.total_steps = 6
    outcome = train(job)
    assert all(np.isfinite(row["loss"]) for row in outcome.log)
    if sampler == "none":
        assert method.record() == {}
        return
    record = method.record()
    assert record["prior_head"] == "frozen"
    assert record["rehearsed_rows"] == 12
    low, high = {"max_loss": (30, 60), "mir": (60, 120), "mix_cd_oracle": (80, 80)}.get(sampler, (0, 0))
    assert low <= record["forward_rows_extra"] <= high
    assert sum(row["draws"] for row in record["rehearsal_trace"]) == 12


def test_judging_damage_without_dropout_is_charged() -> None:
    job, method = job_with(ratio=0.2, clean_indicator=True)
    train(job)
    assert method.record()["forward_rows_extra"] == method.record()["rehearsed_rows"] == 24


def test_the_trace_counts_what_was_drawn_and_damaged() -> None:
    job, method = job_with(sampler="random", ratio=0.5, trace_every=5, training={"learning_rate": 3e-2})
    watched: list[tuple[np.ndarray, np.ndarray]] = []
    method.prologue(job.context)
    count = method.trace.count

    def both(rows: np.ndarray, damaged: np.ndarray) -> None:
        watched.append((rows, damaged))
        count(rows, damaged)

    method.trace.count = both  # type: ignore[method-assign]
    train(job)
    trace = method.record()["rehearsal_trace"]
    assert sorted({row["step"] for row in trace}) == [5, 10, 12]
    assert sum(row["draws"] for row in trace) == 96 == sum(len(rows) for rows, _ in watched)
    damaged = sum(int(found.sum()) for _, found in watched)
    assert sum(row["damaged"] for row in trace) == damaged > 0
    prior = job.context.prior
    assert prior is not None
    for rows, found in watched:  # what was wrong before can not be damaged
        assert not found[~prior.correct[method.scoring.places[rows]]].any()


def test_a_resumed_run_goes_on_with_the_same_estimate_and_trace(tmp_path: Path) -> None:
    def begun(folder: Path | None = None) -> tuple[Job, Rehearsal]:
        job, method = job_with(folder=folder, ratio=0.5, trace_every=2, max_repeats=9)
        # some rows count as right that the model gets wrong, so that there is damage to estimate
        job.context.prior = tiny_prior(job.context.model, correct=np.ones(60, dtype=bool))
        return job, method

    job, undisturbed = begun()
    whole = train(job)
    job, method = begun(tmp_path)
    _stop_after(method, 5)
    with pytest.raises(Stopped):
        train(job)
    job, resumed = begun(tmp_path)
    assert_equal_weights(whole, train(job))
    assert resumed.record() == undisturbed.record()
    assert np.array_equal(resumed.trace.repeats, undisturbed.trace.repeats)
    assert any(row["damaged"] for row in resumed.record()["rehearsal_trace"])


def test_mir_measures_the_rise_of_the_loss_by_a_step_of_the_stated_length() -> None:
    from ftbench.training.rehearsal.scoring import virtual_step

    job, method = job_with(sampler="mir")
    method.prologue(job.context)
    (batch,) = job.batches.step(1)
    model = job.context.model.eval()
    loss = torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.targets)
    changed = virtual_step(job.context, loss, 0.5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    moved = torch.cat([(changed[name] - before[name]).flatten() for name in changed])
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)
    assert all(is_encoder(name, model) for name in changed)
    model.load_state_dict({**model.state_dict(), **changed})
    after = torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.targets)
    assert float(after) < float(loss.detach())


def test_a_shared_head_is_trained_by_the_rehearsed_rows() -> None:
    job, method = job_with(sampler="random", ratio=0.5)
    job.context.prior = tiny_prior(job.context.model, shared=True)
    train(job)
    assert method.record()["prior_head"] == "shared"
    model = PriorModel(job.context)
    batch = job.context.prior.batch(np.arange(5), "cpu")
    assert torch.equal(model.logits(job.context, batch), job.context.model(**batch.inputs).logits)


def test_a_separate_head_may_have_other_labels_and_stays_as_it_was() -> None:
    from transformers import BertForSequenceClassification

    job, method = job_with(sampler="mix_cd", ratio=0.5)
    config = type(job.context.model.config)(**{**job.context.model.config.to_dict(), "num_labels": 5})
    torch.manual_seed(9)
    upstream = BertForSequenceClassification(config)
    job.context.prior = tiny_prior(upstream)
    head = {k: v.clone() for k, v in job.context.prior.weights.items() if not is_encoder(k, upstream)}
    train(job)
    for name, tensor in head.items():
        assert torch.equal(method.model.head[name], tensor)
    assert method.model.head["classifier.weight"].shape[0] == 5


@pytest.mark.parametrize(
    ("config", "prior", "expected"),
    [
        ({}, {"correct": np.zeros(60, dtype=bool)}, "60 rows, all wrong under the model before fine-tuning"),
        ({"ratio": 0.9}, {"rows": 20}, "13 rows that may be drawn; a step asks for 72"),
        ({}, {"losses": np.full(60, np.nan)}, "losses that are not numbers"),
        ({"bins": "aux", "aux": "lable"}, {}, "Did you mean `label`"),
        ({"bins": "cluster"}, {}, r"prior\.clusters"),
    ],
)
def test_a_pool_that_cannot_be_rehearsed_is_refused_with_the_reason(
    config: dict[str, Any], prior: dict[str, Any], expected: str
) -> None:
    job, _ = job_with(**config)
    job.context.prior = tiny_prior(job.context.model, **prior)
    with pytest.raises(FtbenchError, match=expected):
        train(job)


def test_a_run_without_a_prior_task_is_refused() -> None:
    job, _ = job_with()
    job.context.prior = None
    with pytest.raises(FtbenchError, match="no prior task"):
        train(job)


def test_two_methods_that_rehearse_are_refused() -> None:
    assert Rehearsal.check(Rehearsal.Config(), settings(), "classification", [Der])
    assert not Rehearsal.check(Rehearsal.Config(), settings(), "classification", [])


def distances(logits: torch.Tensor, former: torch.Tensor) -> dict[str, list[float]]:
    """By hand, row by row."""
    found: dict[str, list[float]] = {"mse": [], "kl": []}
    for row, old in zip(logits.double(), former.double(), strict=True):
        found["mse"].append(float(((row - old) ** 2).mean()))
        p, q = old.softmax(0), row.softmax(0)
        found["kl"].append(float((p * (p / q).log()).sum()))
    return found


@pytest.mark.parametrize("target", ["mse", "kl"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_der_holds_rows_to_their_former_logits(target: str, alpha: float) -> None:
    job, method = job_with("der", target=target, beta=2.0, alpha=alpha)
    method.prologue(job.context)
    prior: PriorTask | None = job.context.prior
    assert prior is not None
    assert prior.logits is not None
    rows = np.array([4, 9, 30])
    targets = torch.from_numpy(np.asarray(prior.pool.targets)[rows])
    batch = Batch({}, targets, rows)
    logits = torch.randn((3, 3), generator=torch.Generator().manual_seed(0))
    expected = 2.0 * torch.tensor(distances(logits, torch.from_numpy(prior.logits[rows]))[target])
    expected = expected + alpha * torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    assert torch.allclose(method.row_losses(logits, batch, rows), expected, atol=1e-5)
