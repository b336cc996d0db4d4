"""Plain fine-tuning: all parameters, cross-entropy (or squared error), AdamW. The honest baseline."""

from __future__ import annotations

from typing import ClassVar

from ftbench.methods.base import Method


class Vanilla(Method):
    """Every hook as it comes: the loop itself is plain fine-tuning."""

    name = "vanilla"
    summary = "plain fine-tuning of all parameters"
    paper = "Devlin et al. (2019), BERT"
    formula = "theta <- AdamW(theta, grad mean CE)"
    search: ClassVar = {"training.learning_rate": (2e-5, 3e-5, 5e-5), "training.epochs": (2, 3, 4)}
