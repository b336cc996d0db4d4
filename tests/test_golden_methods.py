"""The shipped methods against numbers of published implementations on a toy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import ToyBatches, assert_toy_equal, case, needs_golden, run_toy

from ftbench.methods.dps_dense import DpsDense
from ftbench.methods.dps_mix import DpsMix
from ftbench.methods.vanilla import Vanilla
from ftbench.training.layers import LinearWeight
from ftbench.training.method import Context

pytestmark = needs_golden


def test_vanilla_equals_the_reference_step_by_step() -> None:
    assert_toy_equal(*run_toy(Vanilla(Vanilla.Config())), case("vanilla").expected)


@pytest.mark.parametrize("name", ["dps_dense_a", "dps_dense_b"])
def test_dps_dense_equals_the_reference_step_by_step(name: str) -> None:
    stored = case(name)
    hyper = stored.content["hyper"]
    method = DpsDense(DpsDense.Config(drop_share=hyper["p"], update_ratio=hyper["rho"]))
    masks: dict[str, torch.Tensor] = {}

    def remember(context: Context) -> None:
        DpsDense.after_step(method, context)
        if context.step == hyper["u"] + 1:
            masks.update({key: mask.clone() for key, mask in method.masks.items()})

    method.after_step = remember  # type: ignore[method-assign]
    assert_toy_equal(*run_toy(method), stored.expected)
    assert set(masks) == set(hyper["wrapped"])
    for key, mask in masks.items():
        expected = stored.expected[f"first_mask/{key.removesuffix('.weight')}"]
        assert torch.equal(mask, expected.bool()), key


class ReplayedMix(DpsMix):
    """DPS-Mix fed with the column masks that the reference drew."""

    def __init__(self, config: DpsMix.Config, draws: dict[str, torch.Tensor], steps: list[int]) -> None:
        super().__init__(config)
        self.draws, self.steps = draws, steps

    def column_mask(self, weight: LinearWeight, context: Context) -> torch.Tensor:
        row = self.steps.index(context.step)
        return self.draws[weight.name.removesuffix(".weight")][row].bool().reshape(1, -1)


def test_dps_mix_equals_the_reference_step_by_step() -> None:
    stored = case("dps_mix")
    hyper = stored.content["hyper"]
    draws = {
        key.removeprefix("column_mask/"): value
        for key, value in stored.inputs.items()
        if key.startswith("column_mask/")
    }
    method = ReplayedMix(
        DpsMix.Config(drop_share=hyper["p"], update_ratio=hyper["rho"]), draws, stored.inputs["stage1_steps"].tolist()
    )
    assert_toy_equal(*run_toy(method), stored.expected)


class OneLayer(torch.nn.Module):
    """A single linear layer in the shape that the loop expects of a model."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(weight.shape[1], weight.shape[0])
        self.classifier.weight.data, self.classifier.bias.data = weight.clone(), bias.clone()

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor) -> object:
        return type("Output", (), {"logits": self.classifier(x)})()


def test_dps_mix_penalises_frequent_columns_in_long_stages() -> None:
    from golden import Recorder, toy_training

    from ftbench.training.batches import Batch
    from ftbench.training.job import Job
    from ftbench.training.loop import train

    stored = case("dps_mix_single_layer")
    hyper, inputs = stored.content["hyper"], stored.inputs

    class Batches(ToyBatches):
        def __init__(self) -> None:
            self.steps_per_epoch = hyper["T"]

        def step(self, number: int) -> list[Batch]:
            x, y = inputs["x"], inputs["y"].long()
            x, y = (x[number - 1], y[number - 1]) if x.ndim == 3 else (x, y)
            return [Batch({"x": x, "attention_mask": torch.ones(1)}, y, np.arange(len(y)))]

    class Decayed(Recorder):
        def parameter_groups(self, groups: list[dict[str, object]], context: Context) -> list[dict[str, object]]:
            for group in groups:
                group["weight_decay"] = hyper["weight_decay"]
            return groups

    torch.set_num_threads(1)
    method = ReplayedMix(
        DpsMix.Config(drop_share=hyper["p"], update_ratio=hyper["rho"]),
        {"classifier": inputs["column_mask"]},
        inputs["stage1_steps"].tolist(),
    )
    recorder = Decayed()
    training = toy_training(
        steps=hyper["T"], learning_rate=hyper["lr"], warmup_share=0.0, schedule="constant", clip_norm=None
    )
    context = Context(
        model=OneLayer(inputs["weight0"], inputs["bias0"]), training=training, kind="classification", seed=0
    )
    outcome = train(Job(context, [method, recorder], Batches(), hyper["T"]))
    for step in range(1, hyper["T"] + 1):
        assert torch.allclose(
            recorder.weights[step]["classifier.weight"], stored.expected["weight"][step - 1], atol=2e-6, rtol=0
        ), step
    losses = torch.tensor([row["loss"] for row in outcome.log])
    assert torch.allclose(losses, stored.expected["loss"].float(), atol=2e-6, rtol=0)
