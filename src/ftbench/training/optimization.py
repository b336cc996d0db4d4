"""Optimiser groups, learning-rate schedule and precision: the settings of a step, from `Training`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Training
from ftbench.training.layers import without_decay

if TYPE_CHECKING:
    import torch


def total_steps(training: Training, rows: int) -> int:
    """Optimiser steps of a run over `rows` training rows; the last, short batch of an epoch counts."""
    if training.steps is not None:
        return training.steps
    return max(1, math.ceil(math.ceil(rows / training.batch_size) * training.epochs - 1e-9))


def rate_factor(step: int, total: int, training: Training) -> float:
    """Factor on the learning rate at step t = 1..T: rising over ceil(w T) steps from 0, then decaying to 0.

    Linear: (t-1)/W, then (T-(t-1))/(T-W), the rule of the transformers schedule.
    """
    done = step - 1
    warmup = math.ceil(training.warmup_share * total - 1e-9)
    if done < warmup:
        return done / warmup
    if training.schedule == "constant":
        return 1.0
    share = (done - warmup) / max(1, total - warmup)
    if training.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * share))
    return 1.0 - share


def parameter_groups(model: torch.nn.Module, training: Training) -> list[dict[str, Any]]:
    """Two groups of the trainable parameters: with weight decay, and without (biases, normalisation layers)."""
    excluded = without_decay(model)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = []
    for decay, members in (
        (training.weight_decay, [item for item in named if item[0] not in excluded]),
        (0.0, [item for item in named if item[0] in excluded]),
    ):
        if members:
            groups.append(
                {
                    "params": [parameter for _, parameter in members],
                    "names": [name for name, _ in members],
                    "lr": training.learning_rate,
                    "weight_decay": decay,
                }
            )
    return groups


def adamw(groups: list[dict[str, Any]], training: Training) -> torch.optim.Optimizer:
    """Torch's AdamW (decay before the Adam move, epsilon on the corrected root), in its fused form."""
    import torch

    return torch.optim.AdamW(
        [{key: value for key, value in group.items() if key != "names"} for group in groups],
        betas=training.betas,
        eps=training.epsilon,
        fused=True,
    )


def resolved_precision(asked: str, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16` for a device. `auto` is bf16 on a GPU that has it, and fp32 elsewhere."""
    import torch

    if asked == "fp16" and device.type != "cuda":
        raise FtbenchError("`training.precision: fp16` needs a GPU; found none. Use `auto`, `fp32` or `bf16`.")
    if asked != "auto":
        return asked
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
