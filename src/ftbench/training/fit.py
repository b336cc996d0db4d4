"""From rows and a model to a trained model: the set-up that `finetune` and `upstream` share.

It applies the hooks that come before the loop (data, model), derives the random streams, and runs the loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.study import Training
from ftbench.training.adapter_method import altered_since, checksums
from ftbench.training.batches import EpochBatches
from ftbench.training.checkpoint import Checkpoints
from ftbench.training.examples import Examples, encode
from ftbench.training.inference import device, logits
from ftbench.training.job import Job, Outcome
from ftbench.training.loop import train
from ftbench.training.method import Context, Method
from ftbench.training.models import language_model
from ftbench.training.optimization import total_steps
from ftbench.training.prior_task import PriorTask
from ftbench.training.processes import Processes
from ftbench.training.repeatable import deterministic
from ftbench.training.weights import plain_state, weights_hash

if TYPE_CHECKING:
    import numpy as np
    import torch

CHECKPOINT_VARIABLE = "FTBENCH_CHECKPOINT_SECONDS"  # how often a training writes a resume checkpoint


@dataclass(frozen=True)
class Fitted:
    """A finished training with what the run's record needs."""

    outcome: Outcome
    init_hash: str
    trainable_parameters: int
    total_parameters: int
    train_rows: int
    total_steps: int
    facts: dict[str, Any]


def fit(
    model: torch.nn.Module,
    tokenizer: Any,
    rows: Examples,
    methods: Sequence[Method],
    training: Training,
    kind: str,
    seed: int,
    work: Path,
    select: Examples | None = None,
    score: Callable[[np.ndarray], float] | None = None,
    init_seed: int | None = None,
    prior: PriorTask | None = None,
    snapshot: Path | None = None,
) -> Fitted:
    """Train `model` on `rows`. `score` judges the logits (rows, labels) of the `select` rows, higher is better.
    `init_seed` is that of new weights; without it the run's own. `snapshot` is the folder of the base model."""
    place = device()
    steps = total_steps(training, len(rows))  # before methods add rows: augmentation must not buy more training
    deterministic(place)
    model.to(place)
    context = Context(
        model=model, training=training, kind=kind, seed=seed, init_seed=seed if init_seed is None else init_seed,
        prior=prior, tokenizer=tokenizer, snapshot=snapshot, work=work,
        language_model=None if snapshot is None else partial(language_model, snapshot),
    )  # fmt: skip
    for method in methods:
        rows = method.examples(rows, context)
    data = encode(tokenizer, rows, training.max_length)
    adapted = any(method.saves != "model" for method in methods)
    before = checksums(model) if adapted else {}
    for method in methods:
        method.prepare_model(context)
    model = context.model.to(place)  # a method may have put another in its place
    if adapted:
        context.altered = altered_since(before, model)
    start = plain_state(model)
    if any(method.needs_initial for method in methods):
        context.initial = {name: tensor.clone().to(place) for name, tensor in start.items()}
    init_hash = weights_hash(start)
    held_out = None if select is None else encode(tokenizer, select, training.max_length)

    def evaluate(candidate: torch.nn.Module) -> float:
        assert held_out is not None
        assert score is not None
        return score(logits(candidate, held_out, place))

    processes, size = Processes.here(), training.batch_size
    for method in methods:
        size = method.new_rows(size)
    batches = EpochBatches(data, size, training.accumulation, training.grouping, seed, place, processes)
    outcome = train(
        Job(
            context,
            methods,
            batches,
            steps,
            evaluate if held_out is not None and score is not None else None,
            Checkpoints(work),
            float(os.environ.get(CHECKPOINT_VARIABLE, "300")),
            lambda text: print(text, flush=True),
            processes,
        )
    )
    return Fitted(
        outcome,
        init_hash,
        sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        sum(parameter.numel() for parameter in model.parameters()),
        len(rows),
        steps,
        _facts(methods),
    )


def _facts(methods: Sequence[Method]) -> dict[str, Any]:
    """What the methods say of their run; notes of several are joined."""
    told = [method.record() for method in methods]
    found = {key: value for one in told for key, value in one.items()}
    notes = [str(one["notes"]) for one in told if one.get("notes")]
    return {**found, "notes": "; ".join(notes)} if notes else found
