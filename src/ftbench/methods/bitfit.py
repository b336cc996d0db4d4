"""BitFit: only bias vectors are trained, and the head.

Paper: Ben Zaken et al. (2022), BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models. Reference code: benzakenelad/BitFit @ 7ead19a. Everything else is no part of the optimiser, of
the clipped norm or of the decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.layers import block_linears, is_head, is_pooler

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class Bitfit(Method):
    """Freeze every weight of the pretrained part that is not one of the chosen biases."""

    name = "bitfit"
    summary = "only biases and the head are trained"
    paper = (
        "Ben Zaken et al. (2022), BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked "
        "Language-models"
    )
    reference_code = "benzakenelad/BitFit @ 7ead19a"
    formula = "theta_bias, theta_head <- AdamW(grad mean CE); all other weights constant"
    deviations = (
        "schedule, epochs and learning rate are those of the study; the released script has a constant rate "
        "(`training.schedule: constant`, `warmup_share: 0`), 16 epochs, batch 8, rate 1e-3 and no decay",
        "parameters are found by what a layer computes, so that the partial variant exists beyond BERT's names",
    )
    cost = Cost(forward=1.0, backward=0.0, frozen_backward=1.0, memory="optimiser state of biases and head only")
    search = {"training.learning_rate": (1e-4, 4e-4, 7e-4, 1e-3)}  # commonly searched

    class Config(Strict):
        biases: Literal["all", "query_and_intermediate"] = Field(
            "all",
            description="all: every bias, also of layer norms; query_and_intermediate: of the attention's queries, the "
            "first feed-forward layer and the pooler",
        )

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        return [
            "`bitfit` with `linear_probe`, which decides on its own what is trained; expected one of them"
            for other in others
            if other.name == "linear_probe"
        ]

    def refuse_model(self, model: torch.nn.Module) -> None:
        self._biases(model)

    def prepare_model(self, context: Context) -> None:
        """Freeze; a model without the wanted biases raises an `FtbenchError`."""
        chosen = self._biases(context.model)
        for name, parameter in context.model.named_parameters():
            if name not in chosen and not is_head(name, context.model):
                parameter.requires_grad_(False)

    def _biases(self, model: torch.nn.Module) -> set[str]:
        """Names of the biases of the pretrained part that are trained."""
        own = [name for name, _ in model.named_parameters() if not is_head(name, model) and name.endswith("bias")]
        if not own:
            raise FtbenchError(
                f"`bitfit`: found no bias in the pretrained part of {type(model).__name__}; expected a model with "
                "biases. `linear_probe` trains the head alone."
            )
        if self.config.biases == "all":
            return set(own)
        roles = {f"{linear.name}.bias": linear.role for linear in block_linears(model)}
        chosen = {role: {name for name in own if roles.get(name) == role} for role in ("query", "intermediate")}
        for role, names in chosen.items():
            if not names:
                raise FtbenchError(
                    f"`bitfit`, key `biases`: found no bias of {role} layers in {type(model).__name__}; "
                    "expected `all` for this model"
                )
        return {*chosen["query"], *chosen["intermediate"], *(name for name in own if is_pooler(name, model))}
