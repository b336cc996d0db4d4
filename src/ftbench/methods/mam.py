"""MAM adapter: prefixes in the attention and scaled parallel adapters beside the feed-forward layers.

Paper: He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning. Reference code:
jxhe/unify-parameter-efficient-tuning @ 3222ce2c0.
Formula: K <- [P_K; K], V <- [P_V; V]; out = LN(x + FFN(x) + s (U relu(D x + d) + u)).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.adapter_method import AdapterMethod
from ftbench.training.insertion import insertion_sites
from ftbench.training.virtual_tokens import with_table

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.bottleneck import Shape


class Mam(AdapterMethod):
    """A short prefix and a parallel adapter in every block; defaults are those of the released GLUE script."""

    name = "mam"
    summary = "short prefixes and scaled parallel adapters in a frozen model"
    paper = "He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning"
    reference_code = "jxhe/unify-parameter-efficient-tuning @ 3222ce2c0"
    formula = "K <- [P_K; K], V <- [P_V; V]; out = LN(x + FFN(x) + s (U relu(D x + d) + u)), U = 0 at the start"
    deviations = (
        "the head trains (the released code freezes even a new one)",
        "no dropout inside the adapter",
        "only the prefixes of the layers there are (the released code adds two networks that encoders never use)",
    )
    cost = Cost(
        forward=1.0, backward=0.0, frozen_backward=1.0, memory="optimiser state of prefixes, adapters and the head only"
    )
    search = {
        "settings.virtual_tokens": (16, 30),
        "settings.bottleneck": (16, 64, 512),
        "settings.scale": (2.0, 4.0),
        "training.learning_rate": (1e-4, 3e-4, 1e-3),
    }
    alters_forward = True
    unmergeable = "prefixes and the activation inside the adapters stand in no weight"

    class Config(AdapterMethod.Config):
        virtual_tokens: int = Field(16, gt=0, description="l: keys and values added to every layer")
        network_width: int | None = Field(
            800, gt=0, description="width of the network that makes the prefixes; null: a table"
        )
        bottleneck: int = Field(16, gt=0, description="width of the parallel adapters")
        scale: float = Field(2.0, gt=0, description="s: factor on the adapters' output")

    def attach(self, context: Context) -> None:
        from ftbench.training.bottleneck import Shape, add_beside_feed_forward
        from ftbench.training.prefix import add_prefixes

        asked = self.config

        def shape(_: int) -> Shape:
            return Shape(asked.bottleneck, "relu", asked.scale)

        add_beside_feed_forward(context.model, insertion_sites(context.model), shape)
        add_prefixes(context.model, asked.virtual_tokens, asked.network_width)

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        """The table of virtual tokens, also where a network makes it."""
        return with_table(super().export(state, context), context.model, "prefix")

    def reader(self) -> Mam:
        return Mam(self.config.model_copy(update={"network_width": None}))
