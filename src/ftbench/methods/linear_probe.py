"""Linear probe: the pretrained part stays as it is, only what reads it is trained.

This is the top-K family with K = 0: head and pooler train, embeddings and all blocks are frozen bit for bit
(they are no part of the optimiser, of the clipped norm or of the decay).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.layers import is_head, is_pooler

if TYPE_CHECKING:
    from ftbench.methods.base import Context


class LinearProbe(Method):
    """Freeze everything but the head and, unless asked otherwise, the pooler."""

    name = "linear_probe"
    summary = "frozen encoder, only head and pooler are trained"
    paper = "Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes"
    formula = "theta_encoder constant; head <- AdamW(head, grad mean CE)"
    deviations = ("dropout stays on in the frozen encoder, as in fine-tuning",)
    search = {"training.learning_rate": (1e-3, 3e-3, 1e-2)}  # our own grid: only new layers train
    cost = Cost(forward=1.0, backward=0.0, memory="optimiser state of head and pooler only")

    class Config(Strict):
        train_pooler: bool = Field(
            True, description="false: the pooler stays as it is too, where the pretrained part has one"
        )

    def prepare_model(self, context: Context) -> None:
        for name, parameter in context.model.named_parameters():
            trained = is_head(name, context.model) or (self.config.train_pooler and is_pooler(name, context.model))
            parameter.requires_grad_(trained)
