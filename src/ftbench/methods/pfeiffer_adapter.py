"""Pfeiffer adapters: one bottleneck a block, behind the feed-forward layer of a frozen model.

Paper: Pfeiffer et al. (2021), AdapterFusion. Reference code: the package adapters.
Formula: out = LN(x + f + U relu(D LN(x + f) + d) + u), f the feed-forward layer's output and x its input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.bottleneck_method import ACTIVATION, Activation, BottleneckConfig, BottleneckMethod
from ftbench.training.insertion import insertion_sites

if TYPE_CHECKING:
    from ftbench.methods.base import Context


class PfeifferAdapter(BottleneckMethod):
    """One bottleneck a block, between two uses of the block's own closing normalisation."""

    name = "pfeiffer_adapter"
    summary = "one bottleneck behind every feed-forward layer of a frozen model"
    paper = "Pfeiffer et al. (2021), AdapterFusion: Non-Destructive Task Composition for Transfer Learning"
    reference_code = "adapters (package): SeqBnConfig"
    formula = "out = LN(x + f + U relu(D LN(x + f) + d) + u); f: feed-forward output, x: its input"
    deviations = (
        "U starts at zero, so that the first pass is that of the base model (`init: normal`: N(0, 0.02) for both)",
        "in blocks that normalise before their sublayers (GPT-2, Llama, ModernBERT) the adapter reads f itself",
    )
    cost = Cost(
        forward=1.0, backward=0.0, frozen_backward=1.0, memory="optimiser state of the adapters and the head only"
    )
    search = {
        "settings.reduction": (2, 16, 64),
        "training.learning_rate": (1e-4, 3e-4, 1e-3),
    }

    class Config(BottleneckConfig):
        reduction: float = Field(16, gt=0, description="model width divided by bottleneck width")
        activation: Activation = Field("relu", description=ACTIVATION)

    def attach(self, context: Context) -> None:
        from ftbench.training.bottleneck import add_behind_feed_forward

        add_behind_feed_forward(context.model, insertion_sites(context.model), self.shape, normalised=True)
