"""LEVI: a frozen pretrained model and a small one from scratch, whose views are combined at several depths.

Paper: Roh et al. (2024), LEVI: Generalizable Fine-tuning via Layer-wise Ensemble of Different Views.
Formula: o = mean_k A_k([norm(h_k), s]); h_k is the mean hidden state of the frozen model at depth k, s that of a
small transformer on the same tokens, A_k a linear layer. Trained: the small transformer, the norms and the A_k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.adapter_method import AdapterMethod

if TYPE_CHECKING:
    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class Levi(AdapterMethod):
    """What is saved are the added tensors; the answer of the head is replaced, so there is nothing to merge."""

    name = "levi"
    summary = "frozen model and small model from scratch, combined at several depths"
    paper = "Roh et al. (2024), LEVI: Generalizable Fine-tuning via Layer-wise Ensemble of Different Views"
    formula = "o = mean_k A_k([norm(h_k), s])"
    deviations = (
        "no reference code was found: depths, sizes and learning rate are our own choice",
        "hidden states are normalised before they are read, as depths differ in scale",
        "the loss is that of the mean answer; the answers of single depths have no loss of their own",
        "the pretrained model is frozen and without dropout (the paper may add low-rank adapters to it)",
    )
    cost = Cost(forward=1.0, backward=0.05, memory="optimiser state of the added network only")
    search = {  # our own grid: no values were published with code
        "settings.views": (1, 2, 4),
        "settings.small_width": (0, 32, 64),
        "settings.learning_rate": (3e-4, 1e-3, 3e-3),
    }
    unmergeable = "its answer comes from several depths at once, which no weights of the plain model give"
    alters_forward = True

    class Config(Strict):
        train_pooler: ClassVar[bool] = False  # nothing of the model is trained

        views: int = Field(4, ge=1, description="K: depths that are read, at equal distances up to the top")
        small_width: int = Field(
            64, ge=0, multiple_of=4, description="width of the small transformer; 0: without it, a probe of the depths"
        )
        learning_rate: float | None = Field(1e-3, gt=0, description="of the added network; null: that of the study")

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = super().check(config, training, kind, others)
        reasons += [
            f"`levi` with `{other.name}`, which holds weights near their start: those of the model are frozen"
            for other in others
            if other.stays_near_start
        ]
        return reasons

    def attach(self, context: Context) -> None:
        from ftbench.training.layer_views import attach

        attach(context.model, self.config.views, self.config.small_width)

    def prepare_model(self, context: Context) -> None:
        from ftbench.training.layer_views import NAME

        super().prepare_model(context)
        for name, parameter in context.model.named_parameters():
            parameter.requires_grad_(name.startswith(f"{NAME}."))

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        if self.config.learning_rate is None:
            return groups
        return [{**group, "lr": self.config.learning_rate} for group in groups]

    def prologue(self, context: Context) -> None:
        from ftbench.training.layer_views import NAME

        # from here on; a model that is only given back its encoder keeps the answers of its own head
        context.model.get_submodule(NAME).get_buffer("in_use").fill_(True)
