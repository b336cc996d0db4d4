"""Top-K tuning: only the K blocks nearest the head are trained, with what lies behind them and the head.

Embeddings and lower blocks are frozen bit for bit: they are no part of the optimiser, of the clipped norm or of
the decay. K = 0 is the linear probe; K = L, all blocks, is plain fine-tuning. The papers released no code for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.layers import blocks, layer_groups, top_blocks

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class TopKLayers(Method):
    """Freeze the embeddings and the blocks below the top K."""

    name = "top_k_layers"
    summary = "only the top K blocks, pooler and head are trained"
    paper = "Lee et al. (2019), What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning"
    formula = "theta_embeddings, theta_1..L-K constant; the rest <- AdamW(grad mean CE)"
    deviations = (
        "embeddings are trained exactly where all blocks are, so that K = L is plain fine-tuning; `embeddings` decides "
        "otherwise",
        "dropout stays on in frozen blocks, as in fine-tuning",
    )
    cost = Cost(forward=1.0, backward=0.5, memory="optimiser state of the trained blocks only")
    search = {"settings.layers": (0, 3, 6, 12)}  # commonly searched with 24 blocks

    class Config(Strict):
        layers: int = Field(2, ge=0, description="K: blocks that are trained, counted from the head")
        embeddings: bool | None = Field(None, description="train the embeddings; null: where all blocks are trained")

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        return [
            "`top_k_layers` with `linear_probe`, which decides on its own what is trained; expected one of them"
            for other in others
            if other.name == "linear_probe"
        ]

    def refuse_model(self, model: torch.nn.Module) -> None:
        top_blocks(model, self.config.layers, "layers")

    def prepare_model(self, context: Context) -> None:
        """Freeze; a K beyond the model's blocks raises an `FtbenchError`."""
        self.refuse_model(context.model)
        groups, below = layer_groups(context.model), len(blocks(context.model)) - self.config.layers
        frozen = {name for block in groups.blocks[:below] for name in block}
        if not (self.config.embeddings if self.config.embeddings is not None else below == 0):
            frozen |= set(groups.embeddings)
        for name, parameter in context.model.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
