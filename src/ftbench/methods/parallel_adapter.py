"""Parallel adapters: a scaled bottleneck beside every feed-forward layer of a frozen model.

Paper: He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning. Reference code:
jxhe/unify-parameter-efficient-tuning @ 3222ce2c0 and the package adapters.
Formula: out = LN(x + FFN(x) + s (U relu(D x + d) + u)), x the feed-forward layer's input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.bottleneck_method import ACTIVATION, Activation, BottleneckConfig, BottleneckMethod
from ftbench.training.insertion import insertion_sites

if TYPE_CHECKING:
    from ftbench.methods.base import Context


class ParallelAdapter(BottleneckMethod):
    """One bottleneck a block that reads what the feed-forward layer reads."""

    name = "parallel_adapter"
    summary = "a scaled bottleneck beside every feed-forward layer of a frozen model"
    paper = "He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning"
    reference_code = "jxhe/unify-parameter-efficient-tuning @ 3222ce2c0; adapters (package): ParBnConfig"
    formula = "out = LN(x + FFN(x) + s (U relu(D x + d) + u)); D Kaiming-uniform(sqrt 5), U = 0"
    deviations = (
        "no dropout inside the bottleneck",
        "the head trains (the released code freezes even a new one)",
    )
    cost = Cost(
        forward=1.0, backward=0.0, frozen_backward=1.0, memory="optimiser state of the adapters and the head only"
    )
    search = {
        "settings.reduction": (2, 16, 64),
        "settings.scale": (1.0, 2.0, 4.0),
        "training.learning_rate": (1e-4, 3e-4, 1e-3),
    }

    class Config(BottleneckConfig):
        reduction: float = Field(2, gt=0, description="model width divided by bottleneck width")
        activation: Activation = Field("relu", description=ACTIVATION)
        scale: float = Field(4.0, gt=0, description="s: factor on the adapter's output")

    def attach(self, context: Context) -> None:
        from ftbench.training.bottleneck import add_beside_feed_forward

        add_beside_feed_forward(context.model, insertion_sites(context.model), self.shape)
