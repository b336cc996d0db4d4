"""A device that cannot do a step as asked, for want of memory or of a kernel: the run goes on and says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from placing import PLACE
from test_conformance import prepared, settings

from ftbench.config.errors import FtbenchError
from ftbench.training.batches import Batch
from ftbench.training.inference import logits
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.memory import split
from ftbench.training.passes import Passes
from ftbench.training.repeatable import deterministic

ROWS = settings().batch_size


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """`room(rows)`: a pass over more rows than that is out of memory; the list fills with the rows of each pass."""
    passes: list[int] = []

    def limited(rows: int) -> list[int]:
        whole = Passes.forward

        def forward(self: Passes, batch: Batch) -> torch.Tensor:
            passes.append(len(batch))
            if len(batch) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
            return whole(self, batch)

        monkeypatch.setattr(Passes, "forward", forward)
        return passes

    return limited


def without_dropout(name: str, place: torch.device = PLACE) -> Job:
    """Its draws differ between whole and parted batches; everything else must not."""
    job = prepared(name, settings(), place=place)[0]
    for module in job.context.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return job


def same_weights(one: Outcome, other: Outcome) -> None:
    assert one.weights is not None
    assert other.weights is not None
    for name, tensor in one.weights.items():
        if not name.endswith("key.bias"):  # exact gradient 0: Adam turns rounding into drift
            torch.testing.assert_close(tensor, other.weights[name], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["vanilla", "dps_dense", "dps_mix"])
def test_smaller_parts_learn_what_whole_batches_learn(room: Callable[[int], list[int]], name: str) -> None:
    whole = train(without_dropout(name))
    passes = room(ROWS // 4)
    told: list[str] = []
    job = without_dropout(name)
    job.say = told.append
    parted = train(job)
    assert parted.parts == 4
    assert passes[:2] == [ROWS, ROWS // 2]  # tried as asked, then in halves, then in quarters and never more again
    assert set(passes[2:]) == {ROWS // 4}
    assert sum("memory was too small" in line for line in told) == 2
    assert [row["rows"] for row in parted.log] == [row["rows"] for row in whole.log]
    same_weights(whole, parted)


def test_a_resumed_run_goes_on_in_the_smaller_parts(room: Callable[[int], list[int]], tmp_path) -> None:
    from ftbench.outputs import Stopped
    from ftbench.training.checkpoint import Checkpoints

    passes = room(ROWS // 2)
    job = prepared("vanilla", settings())[0]
    job.checkpoints, job.checkpoint_seconds = Checkpoints(tmp_path), 0.0
    undisturbed = train(prepared("vanilla", settings())[0])

    save = job.checkpoints.save

    def save_and_stop(number: int, state: dict) -> None:
        save(number, state)
        raise Stopped

    job.checkpoints.save = save_and_stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        train(job)
    passes.clear()
    again = prepared("vanilla", settings())[0]
    again.checkpoints = Checkpoints(tmp_path)
    resumed = train(again)
    assert set(passes) == {ROWS // 2}
    assert resumed.parts == 2
    assert undisturbed.weights is not None
    assert resumed.weights is not None
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in undisturbed.weights.items())


def test_one_row_that_does_not_fit_is_an_error_in_words(room: Callable[[int], list[int]]) -> None:
    room(0)
    with pytest.raises(FtbenchError, match=r"too small for a single row.*training\.max_length"):
        train(prepared("vanilla", settings())[0])


def test_a_method_that_computes_whole_gradients_is_told_to_accumulate(
    room: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    room(1)
    job: Job = prepared("vanilla", settings())[0]
    monkeypatch.setattr(type(job.methods[0]), "owns_gradients", True)
    monkeypatch.setattr(
        type(job.methods[0]), "gradients",
        lambda _, micro, passed, __: sum((passed(batch) for batch in micro), torch.zeros(())), raising=False,
    )  # fmt: skip
    with pytest.raises(FtbenchError, match=r"Raise `training\.accumulation`"):
        train(job)


def test_parts_hold_every_row_once_and_in_order() -> None:
    import numpy as np

    inputs = {"input_ids": torch.arange(35).reshape(7, 5)}
    batch = Batch(inputs, torch.arange(7), np.arange(7) * 10)
    for parts in (1, 2, 3, 7, 12):
        found = split(batch, parts)
        assert len(found) == min(parts, 7)
        assert torch.equal(torch.cat([part.inputs["input_ids"] for part in found]), inputs["input_ids"])
        assert torch.cat([part.targets for part in found if part.targets is not None]).tolist() == list(range(7))
        assert np.concatenate([part.rows for part in found]).tolist() == [10 * row for row in range(7)]
        assert max(len(part) for part in found) - min(len(part) for part in found) <= 1


def test_predicting_goes_on_in_smaller_batches() -> None:
    job = prepared("vanilla", settings())[0]
    data, model = job.batches.data, job.context.model
    expected = logits(model, data, PLACE)
    sizes: list[int] = []

    def before(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model.register_forward_pre_hook(before, with_kwargs=True)
    found = logits(model, data, PLACE)
    handle.remove()
    assert sizes[-1] <= 3
    assert found == pytest.approx(expected, abs=1e-5)


def test_an_operation_without_a_repeatable_kernel_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, undisturbed, refusals = Passes.forward, train(prepared("dps_dense", settings())[0]), []

    def forward(self: Passes, batch: Batch) -> torch.Tensor:
        if torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled():
            refusals.append(self.context.step)
            raise RuntimeError("roll_cuda does not have a deterministic implementation, but you set 'torch.use_d")
        return whole(self, batch)

    monkeypatch.setattr(Passes, "forward", forward)
    told: list[str] = []
    job = prepared("dps_dense", settings())[0]
    job.say = told.append
    torch.use_deterministic_algorithms(True)
    try:
        found = train(job)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        deterministic(PLACE)
    assert len(refusals) == 1
    assert [line for line in told if line.startswith("roll_cuda adds up in any order on this GPU")]
    assert found.parts == 1
    same_weights(undisturbed, found)


def test_another_error_of_a_pass_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Passes, batch: Batch) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Passes, "forward", forward)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(prepared("vanilla", settings())[0])
