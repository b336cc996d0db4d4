"""SMART: its adversary, its teacher, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from family_training import losses, padded_batch, trained
from model_families import FAMILIES, family_model
from torch.nn import functional

from ftbench.config.study import Training
from ftbench.methods.base import Context, Method
from ftbench.methods.smart import Smart


class Perturbations(Smart):
    """SMART that keeps what its adversary found."""

    def __init__(self, **config: Any) -> None:
        super().__init__(self.Config(**config))
        self.found: list[torch.Tensor] = []

    def ascend(self, noise: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        self.found.append(super().ascend(noise, gradient))
        return self.found[-1]


def test_the_adversary_of_smart_stays_within_its_bound_and_off_the_padding() -> None:
    method = Perturbations(bound=1e-3, step_size=1e-2, noise_scale=1e-4, steps=3)
    trained("bert", [method])
    assert len(method.found) == 9
    padding = padded_batch().inputs["attention_mask"] == 0
    for noise in method.found:
        assert float(noise.abs().max()) == pytest.approx(1e-3)  # a step of ten bounds: its largest entry is cut
        assert noise[padding].abs().max() == 0


def test_the_adversary_of_smart_finds_more_than_its_random_start() -> None:
    shared = {"dropout": "shared", "proximal_weight": 0.0, "bound": 0.05, "noise_scale": 0.01, "weight": 1.0}
    plain = losses(trained("bert", []))[0]
    climbed = losses(trained("bert", [Smart(Smart.Config(**shared, step_size=0.05, steps=2))]))[0] - plain
    started = losses(trained("bert", [Smart(Smart.Config(**shared, step_size=0.0))]))[0] - plain
    assert climbed > 2 * started > 0


def test_the_teacher_of_smart_is_the_moving_average_of_the_weights() -> None:
    method = Smart(Smart.Config(weight=0.0, beta=0.9, late_beta=0.5, early_share=0.5, dropout="shared"))
    weights: list[torch.Tensor] = []

    class Watch(Method):
        name = "watch"

        def begin_passes(self, context: Context) -> None:
            weights.append(context.model.get_parameter("classifier.weight").detach().clone())

    outcome = trained("bert", [method, Watch(Watch.Config())])
    assert outcome.weights is not None
    weights.append(outcome.weights["classifier.weight"])
    teacher = weights[0]
    for number, weight in enumerate(weights[1:], 1):
        beta = 0.9 if number <= 1.5 else 0.5
        teacher = (1 - beta) * weight + beta * teacher
    assert torch.allclose(method.teacher["classifier.weight"], teacher, atol=1e-6)


def test_the_proximal_term_of_smart_compares_with_the_teachers_prediction() -> None:
    model, batch = family_model("bert").eval(), padded_batch()
    torch.manual_seed(8)
    teacher = {name: value.detach() + 0.1 * torch.randn_like(value) for name, value in model.named_parameters()}
    context = Context(model, Training(), "classification", 0, step=1)
    method = Smart(Smart.Config())
    method.teacher = teacher
    logits = model(**batch.inputs).logits
    term = method.proximity(logits, batch, context)
    other = family_model("bert").eval()
    other.load_state_dict(teacher, strict=False)
    with torch.no_grad():
        expected = other(**batch.inputs).logits
    p, q = logits.softmax(1), expected.softmax(1)
    both = functional.kl_div(q.log(), p, reduction="batchmean") + functional.kl_div(p.log(), q, reduction="batchmean")
    assert float(term.detach()) == pytest.approx(float(both.detach()), rel=1e-4)
    term.backward()
    assert all(value.grad is None for value in teacher.values())


def test_smart_refuses_the_released_wiring_with_the_papers_rule() -> None:
    assert Smart.check(Smart.Config(wiring="layer"), Training(), "classification", [])
    assert not Smart.check(Smart.Config(wiring="layer", form="release"), Training(), "classification", [])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_released_form_of_smart_runs_on_every_family(family: str) -> None:
    outcome = trained(family, [Smart(Smart.Config(form="release", wiring="layer"))])
    assert all(math.isfinite(loss) for loss in losses(outcome))
