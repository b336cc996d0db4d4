"""FreeLB: its perturbations, its dropout, and what it composes with."""

from __future__ import annotations

import math

import pytest
import torch
from family_training import padded_batch, trained
from test_conformance import prepared, settings

from ftbench.methods.base import Context, Method
from ftbench.methods.freelb import FreeLb
from ftbench.methods.lnsr import Lnsr
from ftbench.methods.r_drop import RDrop
from ftbench.training.batches import Batch
from ftbench.training.loop import train


def test_freelb_starts_with_the_stated_norm_and_stays_within_its_bound() -> None:
    class Watched(FreeLb):
        found: list[torch.Tensor]

        def ascend(self, perturbation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
            moved = super().ascend(perturbation, gradient)
            self.found += [perturbation, moved]
            return moved

    method = Watched(FreeLb.Config(start=0.3, rate=0.2, max_norm=0.25))
    method.found = []
    trained("bert", [method])
    starts, moved = method.found[0], torch.stack(method.found[1::2])
    # U(-1, 1) has the root mean square 1/sqrt(3), and a row has at least 64 draws
    assert torch.allclose(starts.norm(dim=(1, 2)), torch.tensor(0.3 / math.sqrt(3)), rtol=0.2)
    assert float(moved.norm(dim=(2, 3)).max()) == pytest.approx(0.25, rel=1e-5)
    padding = padded_batch().inputs["attention_mask"] == 0
    assert moved[:, padding].abs().max() == 0


def test_freelb_shares_dropout_between_its_passes_unless_told_otherwise() -> None:
    """Without a perturbation the passes over a batch differ by their dropout alone."""

    def passes(dropout: str) -> list[float]:
        found: list[float] = []

        class Watch(Method):
            name = "watch"

            def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
                found.append(float(loss.detach()))
                return loss

        method = FreeLb(FreeLb.Config(start=0.0, rate=0.0, dropout=dropout))
        trained("bert", [method, Watch(Watch.Config())], steps=1)
        return found[:3]

    assert len(set(passes("shared"))) == 1
    assert len(set(passes("independent"))) == 3


def test_a_perturbation_whose_gradient_overflowed_stays() -> None:
    gradient = torch.full((2, 3, 4), math.inf)
    gradient[1] = 1.0
    moved = FreeLb(FreeLb.Config(rate=1.0)).ascend(torch.full((2, 3, 4), 0.5), gradient)
    assert torch.equal(moved[0], torch.full((3, 4), 0.5))
    assert torch.allclose(moved[1], torch.tensor(0.5 + 1 / math.sqrt(12)))


def test_consistency_terms_are_judged_in_each_pass_of_freelb() -> None:
    """Composed with R-Drop, each of the K passes has its second one."""
    counted: list[int] = []
    job, _ = prepared("vanilla", settings(steps=1))
    job.total_steps = 1
    job.methods = [FreeLb(FreeLb.Config(passes=3)), RDrop(RDrop.Config()), Lnsr(Lnsr.Config())]
    for method in job.methods:
        method.prepare_model(job.context)
    job.context.model.register_forward_hook(lambda *_: counted.append(1))
    train(job)
    assert len(counted) == 6
