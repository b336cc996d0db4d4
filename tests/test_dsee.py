"""DSEE: the sparse places, the update's formula, and the phase that begins with pruning."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapted import CPU, LABELS, adapted, predicted, stored
from model_families import family_model
from test_conformance import assert_equal_weights, tiny_data

from ftbench.outputs import Stopped
from ftbench.training.batches import EpochBatches
from ftbench.training.checkpoint import Checkpoints
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.sparse_low_rank import SparseLowRank, packed, sparse_places, unpacked
from ftbench.training.weights import plain_state

STEPS = 10


def pruned(
    folder: Path | None = None, stop: int = 0, family: str = "bert", **config: Any
) -> tuple[Job, Outcome | None]:
    """A job with pruning in its middle; `stop`: a signal arrives after this step of the second phase."""
    context, method = adapted(family, "dsee", **{"prune_share": 0.3, "retrain_share": 0.6, **config})
    batches = EpochBatches(tiny_data(), 8, 1, "length", 1, CPU)
    job = Job(context, [method], batches, STEPS, None, Checkpoints(folder) if folder else None, 1e9, lambda _: None)
    if stop:
        after = method.after_step

        def warned(given: Any) -> None:
            after(given)
            if (given.phase, given.step) == (1, stop):
                signal.raise_signal(signal.SIGTERM)

        method.after_step = warned  # type: ignore[method-assign]
        with pytest.raises(Stopped):
            train(job)
        return job, None
    return job, train(job)


def block_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for name, tensor in state.items()
        if ".layer." in name and name.endswith("weight") and tensor.ndim == 2
    }


def test_places_are_those_of_planted_entries() -> None:
    """A matrix of rank 3 with five spikes: nothing else is sparse in it."""
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(120, 3, generator=generator) @ torch.randn(3, 80, generator=generator) * 0.05
    planted = torch.tensor([7, 333, 4000, 7777, 9599])
    low.view(-1)[planted] += torch.tensor([9.0, -9.0, 8.0, 10.0, -8.0])
    found = sparse_places(low, 5, 3, torch.Generator().manual_seed(1))
    assert found.tolist() == planted.tolist()


def test_a_narrow_matrix_still_gets_as_many_places_as_asked() -> None:
    found = sparse_places(torch.randn(16, 16) * 0.02, 16, 100, torch.Generator().manual_seed(1))
    assert len(set(found.tolist())) == 16


def test_the_update_computes_its_formula() -> None:
    update = SparseLowRank(6, 5, 2, 3, 2.0)
    with torch.no_grad():
        update.up.normal_()
        update.values.copy_(torch.tensor([1.0, -2.0, 3.0]))
        update.get_buffer("places").copy_(torch.tensor([0, 8, 29]))
        sparse = torch.zeros(5, 6)
        sparse[0, 0], sparse[1, 2], sparse[4, 5] = 1.0, -2.0, 3.0
        x = torch.randn(4, 7, 6)
        expected = 2.0 * (update.up @ update.down + sparse)
        torch.testing.assert_close(update(x), x @ expected.T)
        torch.testing.assert_close(update.matrix(), expected)


@pytest.mark.parametrize("shape", [(3, 5), (4, 16)])
def test_masks_survive_packing(shape: tuple[int, int]) -> None:
    mask = torch.rand(shape) < 0.5
    assert packed(mask).dtype == torch.uint8
    assert len(packed(mask)) == -(-mask.numel() // 8)
    assert torch.equal(unpacked(packed(mask), mask.shape), mask)


@pytest.mark.parametrize("prune_by", ["update", "sum"])
def test_the_stated_share_of_all_block_weights_is_pruned_and_stays_so(prune_by: str) -> None:
    job, outcome = pruned(prune_by=prune_by)
    assert outcome is not None
    assert [row["phase"] for row in outcome.log] == [0] * 4 + [1] * 6
    weights, base = (block_weights(plain_state(model)) for model in (job.context.model, family_model("bert")))
    base_names = set(base)
    total = sum(tensor.numel() for tensor in base.values())
    zero = sum(int((weights[name] == 0).sum()) for name in base_names)
    assert zero == int(0.3 * total)
    for name in base_names:
        kept = weights[name] != 0
        assert torch.equal(weights[name][kept], base[name][kept]), name
    keys = [name for name in base_names if name.endswith("key.weight")]
    for name in keys:  # ranked by magnitude
        gone, left = base[name][weights[name] == 0].abs(), base[name][weights[name] != 0].abs()
        assert not len(gone) or gone.max() <= left.min()


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_pruned_run_is_read_back_and_merged(family: str, tmp_path: Path) -> None:
    job, outcome = pruned(family=family)
    assert outcome is not None
    trained = predicted(job.context.model)
    artifact = stored(family, tmp_path, outcome, *job.methods)
    np.testing.assert_array_equal(predicted(artifact.model(LABELS, "classification", 0)), trained)
    model = family_model(family, seed=9)
    model.load_state_dict(artifact.plain_weights(LABELS, "classification", 0), strict=False)
    np.testing.assert_allclose(predicted(model), trained, atol=1e-5)


@pytest.mark.parametrize("stop", [1, 4])
def test_a_run_stopped_behind_the_pruning_resumes_to_the_same_weights(stop: int, tmp_path: Path) -> None:
    pruned(tmp_path, stop)
    again, resumed = pruned(tmp_path)
    undisturbed, whole = pruned()
    assert resumed is not None
    assert whole is not None
    assert_equal_weights(whole, resumed)
    mine, theirs = plain_state(again.context.model), plain_state(undisturbed.context.model)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
