"""Houlsby adapters: a bottleneck behind every attention and every feed-forward layer of a frozen model.

Paper: Houlsby et al. (2019), Parameter-Efficient Transfer Learning for NLP. Reference code: the package adapters.
Formula: h <- h + U act(D h + d) + u, on what each sublayer adds to the residual stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.bottleneck_method import ACTIVATION, Activation, BottleneckConfig, BottleneckMethod
from ftbench.training.insertion import insertion_sites

if TYPE_CHECKING:
    from ftbench.methods.base import Context


class HoulsbyAdapter(BottleneckMethod):
    """Two bottlenecks a block."""

    name = "houlsby_adapter"
    summary = "bottlenecks behind attention and feed-forward layers of a frozen model"
    paper = "Houlsby et al. (2019), Parameter-Efficient Transfer Learning for NLP"
    reference_code = "adapters (package): DoubleSeqBnConfig"
    formula = "h <- h + U swish(D h + d) + u behind attention and behind feed-forward, before residual sum and norm"
    deviations = (
        "U starts at zero, so that the first pass is that of the base model (the paper draws it near zero: "
        "`init: normal`)",
        "normalisation layers stay frozen (the paper trains those of the adapted blocks)",
        "behind the sublayer's dropout where it has one",
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
        activation: Activation = Field("swish", description=ACTIVATION)

    def attach(self, context: Context) -> None:
        from ftbench.training.bottleneck import add_behind_attention, add_behind_feed_forward

        sites = insertion_sites(context.model)
        add_behind_attention(context.model, sites, self.shape)
        add_behind_feed_forward(context.model, sites, self.shape)
