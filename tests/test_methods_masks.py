"""Child-Tuning: random and Fisher-driven masks on the clipped gradient."""

from __future__ import annotations

import pytest
import torch
from golden import OldAdamW, ToyBatches, assert_toy_equal, case, needs_golden, run_toy, unpacked
from method_runs import assert_same, changed, family_job, job, made, outcome, start, weights
from model_families import FAMILIES

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import validated
from ftbench.config.study import Training
from ftbench.methods.base import Context
from ftbench.methods.dps_dense import DpsDense
from ftbench.plugins import plugins
from ftbench.training.layers import layer_groups
from ftbench.training.loop import train
from ftbench.training.masks import largest_pooled, percentile
from ftbench.training.squared_gradients import mean_squared_gradients


@needs_golden
def test_child_tuning_f_equals_the_reference_step_by_step() -> None:
    stored = case("child_tuning_f")
    method = made("child_tuning_f", keep_share=stored.content["hyper"]["p_keep"])

    def drawn(context: Context) -> dict[str, torch.Tensor]:
        return {
            name: unpacked(stored.inputs[f"mask_bits/{name}"][context.step - 1], parameter.shape)
            for name, parameter in context.model.named_parameters()
        }

    method.masks = drawn  # type: ignore[attr-defined]
    assert_toy_equal(*run_toy(method, OldAdamW(), steps=12, warmup_share=2 / 12), stored.expected)


@needs_golden
def test_child_tuning_d_equals_the_reference_step_by_step() -> None:
    stored = case("child_tuning_d")
    hyper = stored.content["hyper"]

    class FirstBatches(ToyBatches):
        def __init__(self) -> None:
            super().__init__()
            self.steps_per_epoch = hyper["fisher_batches"]

    method = made("child_tuning_d", keep_share=hyper["p_keep"])
    run = run_toy(method, OldAdamW(), batches=FirstBatches(), steps=20, warmup_share=0.1)
    masks = method.masks  # type: ignore[attr-defined]
    expected = {key.removeprefix("mask_bits/"): bits for key, bits in stored.expected.items() if "mask_bits" in key}
    assert masks.keys() == expected.keys()
    differing = sum(int((masks[name] != unpacked(bits, masks[name].shape)).sum()) for name, bits in expected.items())
    assert differing <= 2  # the tolerance of the case: rounding at the threshold
    assert sum(int(mask.sum()) for mask in masks.values()) == pytest.approx(stored.content["values"]["kept"], abs=2)
    assert_toy_equal(*run, stored.expected)


@needs_golden
def test_squared_gradients_are_those_of_the_reference() -> None:
    stored = case("child_tuning_d")
    found: dict[str, torch.Tensor] = {}

    class Measuring(plugins("methods")["vanilla"].factory):  # type: ignore[misc]
        def prologue(self, context: Context) -> None:
            found.update(mean_squared_gradients(context, dict(context.model.named_parameters()), 1.0, "test"))

    class FirstBatches(ToyBatches):
        def epoch(self) -> list[object]:  # type: ignore[override]
            return super().epoch()[:8]

    run_toy(Measuring(Measuring.Config()), batches=FirstBatches(), steps=1)
    for key, expected in stored.expected.items():
        if key.startswith("fisher/"):
            assert torch.allclose(found[key.removeprefix("fisher/")], expected, rtol=1e-4, atol=1e-10), key


@pytest.mark.parametrize("name", ["child_tuning_f", "child_tuning_d"])
def test_child_tuning_that_keeps_everything_is_plain_fine_tuning(name: str) -> None:
    assert_same(weights(made(name, keep_share=1.0)), weights())


def test_masked_gradients_of_child_tuning_f_keep_their_mean() -> None:
    model = torch.nn.Linear(300, 300, bias=False)
    context = Context(model, Training(), "classification", seed=4, step=1)
    model.weight.grad = torch.full((300, 300), 2.0)
    made("child_tuning_f", keep_share=0.2).gradients_clipped(context)
    assert set(model.weight.grad.unique().tolist()) == {0.0, 10.0}
    # 90,000 draws: the standard error of the mean is 2 sqrt(0.8/0.2/90000) = 0.013
    assert model.weight.grad.mean().item() == pytest.approx(2.0, abs=0.06)


def test_child_tuning_f_draws_anew_in_each_step_and_alike_under_accumulation() -> None:
    def drawn(step: int, passes: int) -> torch.Tensor:
        model = torch.nn.Linear(20, 20, bias=False)
        model.weight.grad = torch.ones(20, 20)
        context = Context(model, Training(), "classification", seed=4, step=step, passes=passes)
        return made("child_tuning_f").masks(context)["weight"]  # type: ignore[attr-defined,no-any-return]

    assert torch.equal(drawn(1, 1), drawn(1, 4))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_child_tuning_d_keeps_the_stated_share_of_all_blocks_together(family: str) -> None:
    method = made("child_tuning_d", keep_share=0.25, frozen="hard")
    given = family_job(family, method, steps=2)
    before = {name: tensor.clone() for name, tensor in given.context.initial.items()}
    after = train(given).weights
    assert after is not None
    masks = method.masks  # type: ignore[attr-defined]
    inside = {name for block in layer_groups(given.context.model).blocks for name in block}
    assert set(masks) == inside
    entries = sum(mask.numel() for mask in masks.values())
    # ties (tokens that never occur have none here) could add entries, rounding at most one
    assert sum(int(mask.sum()) for mask in masks.values()) == pytest.approx(0.25 * entries, abs=1.5)
    for name, mask in masks.items():
        assert torch.equal(after[name][~mask], before[name][~mask]), name
    assert changed(before, after) - inside


def test_masks_of_gradients_leave_decay_to_unselected_entries() -> None:
    """The meaning `gradient` freezes nothing, as in the reference; `hard` does."""
    before = start()
    for frozen in ("gradient", "hard"):
        method = made("child_tuning_d", keep_share=0.2, frozen=frozen)
        after = weights(method, weight_decay=0.1)
        moved = sum(
            int((after[name] != before[name])[~mask].sum())
            for name, mask in method.masks.items()  # type: ignore[attr-defined]
            if name.endswith("query.weight")
        )
        assert (moved > 0) == (frozen == "gradient")


def test_child_tuning_d_selects_the_same_entries_under_accumulation() -> None:
    masks = []
    for accumulation in (1, 4):
        method = made("child_tuning_d")
        given = job(method, steps=1, accumulation=accumulation, dropout=0.0)
        for module in given.context.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        train(given)
        masks.append(torch.cat([mask.flatten() for mask in method.masks.values()]))  # type: ignore[attr-defined]
    assert (masks[0] != masks[1]).float().mean() < 0.002  # rounding at the threshold


def test_the_pass_before_training_does_not_shift_dropout() -> None:
    plain, masked = outcome(), outcome(made("child_tuning_d"))
    assert masked.log[0]["loss"] == pytest.approx(plain.log[0]["loss"], abs=1e-7)


def test_child_tuning_d_refuses_fp16_and_a_second_selection() -> None:
    factory = plugins("methods")["child_tuning_d"].factory
    check = factory.check
    assert check(factory.Config(), Training(), "classification", []) == []
    assert "vanish" in check(factory.Config(), Training(precision="fp16"), "classification", [])[0]
    assert "dps_dense" in check(factory.Config(), Training(), "classification", [DpsDense])[0]


@pytest.mark.parametrize("name", ["child_tuning_f", "child_tuning_d"])
@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_shares_out_of_bounds_are_refused(name: str, share: float) -> None:
    with pytest.raises(FtbenchError, match="keep_share"):
        validated(plugins("methods")[name].factory.Config, {"keep_share": share}, "study.yaml", "settings")


def test_percentiles_interpolate_as_numpy_does() -> None:
    import numpy as np

    scores = torch.from_numpy(np.random.default_rng(0).normal(size=1001))
    for share in (0.0, 0.1, 0.37, 0.7001, 1.0):
        assert percentile(scores, share).item() == pytest.approx(np.percentile(scores.numpy(), 100 * share), abs=1e-12)


def test_pooled_selection_keeps_exactly_the_stated_number_also_among_equals() -> None:
    scores = {"a": torch.tensor([[3.0, 1.0], [1.0, 0.0]]), "b": torch.tensor([1.0, 5.0, 1.0])}
    masks = largest_pooled(scores, 4)
    assert masks["a"].tolist() == [[True, True], [True, False]]
    assert masks["b"].tolist() == [False, True, False]
    assert not any(mask.any() for mask in largest_pooled(scores, 0).values())
    assert all(mask.all() for mask in largest_pooled(scores, 99).values())
