"""DoRA: LoRA on the direction of each weight, with a trained length for every output.

Paper: Liu et al. (2024), DoRA: Weight-Decomposed Low-Rank Adaptation. Reference code: the package peft.
Formula: W' = m * (W + (alpha/r) B A) / ||W + (alpha/r) B A|| by rows, m = ||W|| at the start.
"""

from __future__ import annotations

from ftbench.methods.base import Cost
from ftbench.methods.lora import Lora


class Dora(Lora):
    """LoRA's layers with a trained length of every row."""

    name = "dora"
    summary = "low-rank updates of the direction of frozen projections, and trained lengths"
    paper = "Liu et al. (2024), DoRA: Weight-Decomposed Low-Rank Adaptation"
    reference_code = "peft (package): LoraConfig(task_type='SEQ_CLS', use_dora=True)"
    formula = "W' = m * (W + (alpha/r) B A) / ||W + (alpha/r) B A||; m = ||W||, B = 0 at the start"
    deviations = (
        "the same layers as LoRA (query and value) by default, so that the two can be compared",
        "the norm in the denominator is a constant for the gradient, as the paper proposes to save memory",
        *Lora.deviations,
    )
    cost = Cost(
        forward=1.0,
        backward=0.0,
        frozen_backward=1.0,
        memory="optimiser state of the low-rank matrices, lengths and the head",
    )
    weight_decomposed = True
