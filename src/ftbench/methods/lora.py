"""LoRA: frozen linear layers get a trained low-rank sum beside them.

Paper: Hu et al. (2022), LoRA: Low-Rank Adaptation of Large Language Models. Reference code: the package peft.
Formula: y = W x + (alpha/r) B A drop(x), with A Kaiming-uniform (a = sqrt 5) and B = 0 at the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.adapter_method import AdapterMethod
from ftbench.training.insertion import Sites, insertion_sites
from ftbench.training.peft_modules import fold, inject

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context


def target_names(sites: list[Sites], targets: str) -> list[str]:
    """Names of the layers that `targets` means, each once."""
    names: list[str] = []
    for site in sites:
        names += [site.query, site.value]
        if targets != "query_value":
            names += [site.key, site.attention.linear]
        if targets == "all":
            names += [*site.feed_forward_inputs, site.feed_forward.linear]
    return list(dict.fromkeys(names))


class Lora(AdapterMethod):
    """Low-rank sums on the query and value projections of every block."""

    name = "lora"
    summary = "low-rank updates of frozen attention projections"
    paper = "Hu et al. (2022), LoRA: Low-Rank Adaptation of Large Language Models"
    reference_code = "peft (package): LoraConfig(task_type='SEQ_CLS')"
    formula = "y = W x + (alpha/r) B A drop(x); A ~ Kaiming-uniform(sqrt 5), B = 0"
    deviations: ClassVar[tuple[str, ...]] = (
        "the pooler trains with the classifier (`train_pooler: false` leaves it frozen, as the library does for BERT)",
        "where one matrix computes query, key and value (GPT-2, ModernBERT), the sum goes beside all of it",
        "decay acts on A and B each, not on their product",
    )
    cost = Cost(
        forward=1.0,
        backward=0.0,
        frozen_backward=1.0,
        memory="optimiser state of the low-rank matrices and the head only",
    )
    search = {
        "settings.rank": (4, 8, 16),
        "training.learning_rate": (1e-4, 2e-4, 4e-4, 5e-4, 1e-3),
    }
    weight_decomposed: ClassVar[bool] = False

    class Config(AdapterMethod.Config):
        rank: int = Field(8, gt=0, description="r: rank of the sum")
        alpha: float = Field(8.0, gt=0, description="the sum is scaled by alpha / r")
        dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the inputs of A")
        targets: Literal["query_value", "attention", "all"] = Field(
            "query_value", description="attention: all four projections; all: the feed-forward layers too"
        )

    def attach(self, context: Context) -> None:
        from peft import LoraConfig

        config = LoraConfig(
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=target_names(insertion_sites(context.model), self.config.targets),
            bias="none",
            use_dora=self.weight_decomposed,
        )
        inject(config, context.model)

    def merge(self, model: torch.nn.Module) -> None:
        """W <- W + (alpha/r) B A, exact up to rounding."""
        fold(model)
