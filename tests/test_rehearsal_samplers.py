"""The samplers of rehearsal against their formulas, and on planted damage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ftbench.data.bins import Partition, partition
from ftbench.methods.rehearsal import SAMPLERS
from ftbench.training.rehearsal.damage import MixCd, MixCdOracle
from ftbench.training.rehearsal.samplers import Importance, Knobs, Mir, PriorLoss, Sampler, Scorer, Uniform
from ftbench.training.rehearsal.trace import Trace

ROWS = 1000
LOSSES = np.random.default_rng(4).gamma(1.0, 1.0, ROWS)
BINS = partition("loss", LOSSES)
NOTHING = Scorer(lambda rows: np.zeros(len(rows)), lambda rows: LOSSES[rows], lambda rows: np.zeros(len(rows), bool))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(sampler: Sampler, count: int, seed: int = 0) -> np.ndarray:
    return sampler.draw(count, generator(seed), NOTHING)[0]


def test_mix_cd_with_one_bin_draws_the_rows_of_random() -> None:
    one = Partition(("all",), np.zeros(ROWS, dtype=np.int64))
    mix, uniform = MixCd(LOSSES, one, Knobs()), Uniform(LOSSES, one, Knobs())
    mix.begin(1, NOTHING)
    mix.observe(np.arange(50), LOSSES[:50], np.ones(50, dtype=bool))
    assert np.allclose(mix.probabilities(), uniform.probabilities())
    assert np.array_equal(drawn(mix, 500), drawn(uniform, 500))


def test_the_estimate_follows_its_formula_step_by_step() -> None:
    knobs = Knobs(discount=0.9, prior_count=2.0, prior_rate=0.1, floor=0.2)
    sampler = MixCd(LOSSES, BINS, knobs)
    damage, seen = np.zeros(10), np.zeros(10)
    draw = np.random.default_rng(0)
    for step in range(1, 30):
        sampler.begin(step, NOTHING)
        damage *= 0.9
        seen *= 0.9
        for _ in range(2):  # two micro-batches of a step fade the counts once
            rows = draw.integers(0, ROWS, 3)
            wrong = draw.random(3) < 0.4
            sampler.observe(rows, LOSSES[rows], wrong)
            for row, one in zip(rows, wrong, strict=True):
                seen[BINS.index[row]] += 1
                damage[BINS.index[row]] += one
        rates = (damage + 2.0 * 0.1) / (seen + 2.0)
        raised = np.maximum(rates, 0.2 * rates.mean()) * np.bincount(BINS.index)
        assert sampler.rates() == pytest.approx(rates)
        assert sampler.bin_probabilities() == pytest.approx(raised / raised.sum())


@pytest.mark.parametrize("damaged", [0.0, 0.01, 1.0])
def test_bin_probabilities_are_positive_and_add_up_to_one_whatever_was_seen(damaged: float) -> None:
    sampler = MixCd(LOSSES, BINS, Knobs())
    draw = np.random.default_rng(1)
    for step in range(1, 200):
        sampler.begin(step, NOTHING)
        rows = drawn(sampler, 8, step)
        sampler.observe(rows, LOSSES[rows], draw.random(8) < damaged)
        assert sampler.bin_probabilities().sum() == pytest.approx(1)
        assert sampler.probabilities().sum() == pytest.approx(1)
        assert (sampler.bin_probabilities() > 0).all()


def test_planted_damage_in_one_bin_is_found() -> None:
    sampler, draw, shares = MixCd(LOSSES, BINS, Knobs()), np.random.default_rng(3), []
    assert sampler.bin_probabilities() == pytest.approx(np.full(10, 0.1))
    for step in range(1, 301):
        sampler.begin(step, NOTHING)
        rows = drawn(sampler, 4, step)
        shares.append(float((BINS.index[rows] == 6).mean()))
        sampler.observe(rows, LOSSES[rows], (BINS.index[rows] == 6) & (draw.random(4) < 0.8))
    assert np.mean(shares[200:]) > 0.5


def test_draws_follow_the_stated_probabilities() -> None:
    for factory in (Uniform, PriorLoss, Importance, MixCd):
        sampler = factory(LOSSES, BINS, Knobs())
        if isinstance(sampler, MixCd):
            sampler.begin(1, NOTHING)
            some = np.flatnonzero(BINS.index == 2)
            sampler.observe(some, LOSSES[some], np.ones(len(some), dtype=bool))
        counts = np.bincount(drawn(sampler, 200_000), minlength=ROWS) / 200_000
        deviation = (counts - sampler.probabilities()) / np.sqrt(sampler.probabilities() / 200_000)
        assert np.abs(deviation).max() < 5, factory.__name__
        by_bin = np.bincount(BINS.index, weights=sampler.probabilities())
        assert sampler.bin_probabilities() == pytest.approx(by_bin)


def test_prior_loss_is_proportional_to_a_power_and_takes_an_all_zero_pool_as_it_comes() -> None:
    raised = LOSSES**2
    assert PriorLoss(LOSSES, BINS, Knobs(power=2)).probabilities() == pytest.approx(raised / raised.sum())
    zeros = np.zeros(ROWS)
    assert PriorLoss(zeros, BINS, Knobs()).probabilities() == pytest.approx(np.full(ROWS, 1 / ROWS))


def test_importance_weights_make_the_mean_unbiased_and_use_the_losses_last_seen() -> None:
    sampler = Importance(LOSSES, BINS, Knobs())
    values = np.random.default_rng(0).random(ROWS)
    shares = sampler.probabilities()
    rows, weights = sampler.draw(400_000, generator(), NOTHING)
    assert weights == pytest.approx(1 / (ROWS * shares[rows]))
    assert (weights * values[rows]).mean() == pytest.approx(values.mean(), rel=0.02)
    sampler.observe(np.array([7]), np.array([500.0]), np.array([False]))
    assert sampler.probabilities().argmax() == 7


def test_the_highest_prior_losses_come_once_each_and_in_order() -> None:
    sampler = SAMPLERS["prior_loss_max"](LOSSES, BINS, Knobs())
    rows = np.concatenate([drawn(sampler, 10, step) for step in range(ROWS // 10)])
    assert np.array_equal(rows, np.argsort(-LOSSES, kind="stable"))
    assert drawn(sampler, 1)[0] == LOSSES.argmax()


@pytest.mark.parametrize(("name", "passes"), [("max_loss", 1), ("mir", 2)])
def test_the_best_of_the_candidates_are_taken_and_their_passes_charged(name: str, passes: int) -> None:
    scorer = Scorer(lambda rows: LOSSES[rows], lambda rows: -LOSSES[rows], NOTHING.damaged)
    sampler = SAMPLERS[name](LOSSES, BINS, Knobs(candidates=40))
    rows, weights = sampler.draw(5, generator(2), scorer)
    candidates = np.unique(torch.randint(ROWS, (40,), generator=generator(2)).numpy())
    order = np.argsort(LOSSES[candidates])
    best = order[::-1][:5] if name == "max_loss" else order[:5]
    assert set(rows) == set(candidates[best])
    assert weights.tolist() == [1.0] * 5
    assert sampler.charged == passes * len(candidates)
    assert isinstance(sampler, Mir) == (passes == 2)


def test_the_oracle_knows_the_rates_and_pays_for_the_whole_pool() -> None:
    truth = (BINS.index == 3) | (np.arange(ROWS) % 50 == 0)
    scorer = Scorer(NOTHING.losses, NOTHING.increase, lambda rows: truth[rows])
    sampler = MixCdOracle(LOSSES, BINS, Knobs(refresh=10))
    for step in range(1, 32):
        sampler.begin(step, scorer)
    expected = [truth[BINS.index == k].mean() for k in range(10)]
    assert sampler.rates() == pytest.approx(expected)
    assert sampler.charged == 4 * ROWS  # in steps 1, 11, 21 and 31


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_restored_sampler_goes_on_like_the_one_that_was_stored(name: str) -> None:
    def used(steps: range, sampler: Any) -> list[list[int]]:
        found = []
        for step in steps:
            sampler.begin(step, NOTHING)
            rows = drawn(sampler, 6, step)
            found.append(rows.tolist())
            sampler.observe(rows, LOSSES[rows] * step, rows % 3 == 0)
        return found

    whole = SAMPLERS[name](LOSSES, BINS, Knobs(refresh=7))
    expected = used(range(1, 30), whole)
    first, second = (SAMPLERS[name](LOSSES, BINS, Knobs(refresh=7)) for _ in range(2))
    begun = used(range(1, 12), first)
    second.restore(first.state())
    assert begun + used(range(12, 30), second) == expected
    assert second.charged == whole.charged


def test_no_row_comes_more_often_than_allowed() -> None:
    from ftbench.config.errors import FtbenchError

    trace, sampler = Trace(BINS, 1), Uniform(LOSSES[:10], BINS, Knobs())
    trace.repeats = np.zeros(10, dtype=np.int64)
    source = generator()
    rows = [trace.bounded(2, 5, lambda count: sampler.draw(count, source, NOTHING))[0] for _ in range(4)]
    assert np.bincount(np.concatenate(rows)).tolist() == [2] * 10
    with pytest.raises(FtbenchError, match="max_repeats"):
        trace.bounded(2, 1, lambda count: sampler.draw(count, source, NOTHING))
