"""How rows are divided into batches: every row once, little padding, and in training not the same neighbours in every
epoch."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch

from ftbench.training import inference
from ftbench.training.batches import epoch_order
from ftbench.training.inference import length_batches

BATCH = 16


def lengths_of(rows: int) -> np.ndarray:
    """Lengths of sentence pairs: most short, a few several times as long."""
    return (8 + np.random.default_rng(0).gamma(3.0, 6.0, rows)).astype(np.int64)


def neighbours(batches: list[np.ndarray]) -> set[tuple[int, ...]]:
    return {tuple(sorted(pair)) for batch in batches for pair in combinations(map(int, batch), 2)}


@pytest.mark.parametrize("grouping", ["length", "none"])
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 40, 64, 1000, 2001])
def test_an_epoch_has_every_row_once_in_full_batches(rows: int, grouping: str) -> None:
    batches = epoch_order(lengths_of(rows), BATCH, grouping, seed=3, epoch=1)
    assert sorted(np.concatenate(batches)) == list(range(rows))
    assert len(batches) == -(-rows // BATCH)
    assert sorted({len(batch) for batch in batches})[-1] <= BATCH
    assert sum(len(batch) < BATCH for batch in batches) <= 1


@pytest.mark.parametrize("rows", [1000, 2000, 10_000])
def test_grouping_by_length_leaves_little_padding(rows: int) -> None:
    lengths = lengths_of(rows)

    def computed(grouping: str) -> float:
        orders = [epoch_order(lengths, BATCH, grouping, seed, 0) for seed in range(5)]
        return float(np.mean([sum(len(b) * lengths[b].max() for b in order) for order in orders]) / lengths.sum())

    assert computed("length") < 1.08
    assert computed("none") > 1.5


def test_the_batches_of_a_small_set_differ_between_epochs() -> None:
    lengths = np.random.default_rng(0).permutation(640) + 1  # no two alike: sorted as a whole there is one division
    first, second = (neighbours(epoch_order(lengths, BATCH, "length", 0, epoch)) for epoch in (0, 1))
    assert len(first & second) < len(first) / 2
    assert first == neighbours(epoch_order(lengths, BATCH, "length", 0, 0))


def cost(batches: list[np.ndarray], lengths: np.ndarray) -> int:
    return sum(len(batch) * int(lengths[batch].max()) + inference.CPU_START for batch in batches)


@pytest.mark.parametrize("seed", range(8))
def test_no_division_of_rows_without_gradients_costs_less(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    most, place = 40, torch.device("cpu")
    monkeypatch.setattr(inference, "CPU_TOKENS", most)
    monkeypatch.setattr(inference, "CPU_START", 1 + 3 * seed)
    lengths = np.random.default_rng(seed).integers(1, 50, 9)  # some alone have more tokens than a batch may
    found = length_batches(lengths, place)
    assert sorted(np.concatenate(found)) == list(range(9))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= most for batch in found)
    order = np.argsort(lengths)
    divisions = [np.split(order, np.flatnonzero(cuts) + 1) for cuts in product([0, 1], repeat=8)]
    allowed = [d for d in divisions if all(len(b) == 1 or len(b) * lengths[b].max() <= most for b in d)]
    assert cost(found, lengths) == min(cost(division, lengths) for division in allowed)


def test_no_rows_are_no_batches() -> None:
    assert length_batches(np.zeros(0, dtype=np.int64), torch.device("cpu")) == []


def test_a_gpu_takes_large_batches_in_multiples_of_eight() -> None:
    lengths = lengths_of(20_000)
    found = length_batches(lengths, torch.device("cuda"))
    assert sorted(np.concatenate(found)) == list(range(20_000))
    assert max(len(batch) * -(-int(lengths[batch].max()) // 8) * 8 for batch in found) <= inference.GPU_TOKENS
    assert len(found) < 2 * -(-int(lengths.sum()) // inference.GPU_TOKENS)
