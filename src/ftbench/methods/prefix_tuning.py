"""Prefix tuning: trained keys and values in front of those of every attention layer of a frozen model.

Paper: Li and Liang (2021), Prefix-Tuning: Optimizing Continuous Prompts for Generation. Reference code: the package
peft. Formula: K <- [P_K; K], V <- [P_V; V] in every layer; the table P, or the network over one, is trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.adapter_method import AdapterMethod
from ftbench.training.virtual_tokens import with_table

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context


class PrefixTuning(AdapterMethod):
    """Virtual tokens that every attention layer sees, with keys and values of their own."""

    name = "prefix_tuning"
    summary = "trained keys and values in front of every attention layer of a frozen model"
    paper = "Li and Liang (2021), Prefix-Tuning: Optimizing Continuous Prompts for Generation"
    reference_code = "peft (package): PrefixTuningConfig(task_type='SEQ_CLS')"
    formula = "K <- [P_K; K], V <- [P_V; V] in every layer; positions of the tokens unchanged"
    deviations = (
        "positions of the tokens are those without a prefix; the library passes prefixes as a cache, which shifts "
        "them by the prefix's length",
        "a table by default (the paper trains a network over one: `network_width`)",
        "`start: zero` is not neutral either: zero keys still take attention",
        "the pooler trains with the classifier (`train_pooler: false` leaves it frozen, as the library does for BERT)",
    )
    cost = Cost(
        forward=1.0, backward=0.0, frozen_backward=1.0, memory="optimiser state of the prefixes and the head only"
    )
    search = {
        "settings.virtual_tokens": (10, 20, 50, 100, 200),
        "training.learning_rate": (5e-5, 5e-4, 5e-3, 1e-2),
    }
    alters_forward = True
    unmergeable = "further keys and values change the attention and not any weight"

    class Config(AdapterMethod.Config):
        virtual_tokens: int = Field(20, gt=0, description="l: keys and values added to every layer")
        network_width: int | None = Field(
            None, gt=0, description="width of the network that makes the prefixes (512 in the paper); null: a table"
        )
        start: str = Field("normal", pattern="^(normal|zero)$", description="first values of the table or last layer")

    def attach(self, context: Context) -> None:
        from ftbench.training.prefix import add_prefixes

        settings = self.config
        add_prefixes(context.model, settings.virtual_tokens, settings.network_width, settings.start == "zero")

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        """The table of virtual tokens, also where a network makes it."""
        return with_table(super().export(state, context), context.model, "prefix")

    def reader(self) -> PrefixTuning:
        return PrefixTuning(self.config.model_copy(update={"network_width": None}))
