"""Three steps of training on a tiny model of any family, on one padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from model_families import family_model

from ftbench.config.study import Training
from ftbench.methods.base import Context, Method
from ftbench.training.batches import Batch
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train


def padded_batch(kind: str = "classification") -> Batch:
    """Six rows of 4 to 9 tokens, padded to 9."""
    generator = torch.Generator().manual_seed(2)
    lengths = torch.arange(4, 10)
    mask = (torch.arange(9) < lengths.unsqueeze(1)).long()
    ids = torch.randint(3, 60, (6, 9), generator=generator) * mask
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    return Batch({"input_ids": ids, "attention_mask": mask}, targets if kind == "classification" else targets.float(),
                 np.arange(6))  # fmt: skip


class Repeated:
    """The same batch in every step, cut into `parts` micro-batches."""

    def __init__(self, batch: Batch, parts: int = 1) -> None:
        self.steps_per_epoch, self.batch, self.parts = 100, batch, parts

    def step(self, number: int) -> list[Batch]:
        targets, size = self.batch.targets, len(self.batch) // self.parts
        assert targets is not None
        cuts = [slice(start, start + size) for start in range(0, len(self.batch), size)]
        return [
            Batch({key: value[cut] for key, value in self.batch.inputs.items()}, targets[cut], self.batch.rows[cut])
            for cut in cuts
        ]

    def epoch(self) -> list[Batch]:
        return self.step(1)


def trained(
    family: str, methods: Sequence[Method], kind: str = "classification", parts: int = 1, **changes: Any
) -> Outcome:
    """Three steps on a tiny model of a family."""
    torch.set_num_threads(1)
    training = Training(
        **{"steps": 3, "batch_size": 6, "learning_rate": 1e-3, "precision": "fp32", "evaluations": 0,
           "warmup_share": 0.0, "accumulation": parts, **changes}
    )  # fmt: skip
    model = family_model(family, labels=3 if kind == "classification" else 1)
    context = Context(model=model, training=training, kind=kind, seed=4)
    for method in methods:
        method.prepare_model(context)
    return train(Job(context, methods, Repeated(padded_batch(kind), parts), 3, say=lambda _: None))


def losses(outcome: Outcome) -> list[float]:
    return [row["loss"] for row in outcome.log]
