"""Prompt tuning and P-tuning: trained vectors among the word embeddings of a frozen model.

Papers: Lester et al. (2021), The Power of Scale for Parameter-Efficient Prompt Tuning; Liu et al. (2021), GPT
Understands, Too (`encoder: mlp` or `lstm`). Reference code: the package peft.
Formula: E <- [e_CLS; P; e_2 .. e_n] in encoders, [P; e_1 .. e_n] in decoders; P, or the network that makes it, trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.methods.base import Cost
from ftbench.training.adapter_method import AdapterMethod
from ftbench.training.virtual_tokens import with_table

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context


class PromptTuning(AdapterMethod):
    """Virtual tokens in the input."""

    name = "prompt_tuning"
    summary = "trained vectors among the word embeddings of a frozen model (P-tuning with an encoder)"
    paper = "Lester et al. (2021), The Power of Scale for Parameter-Efficient Prompt Tuning"
    reference_code = "peft (package): PromptTuningConfig, PromptEncoderConfig (task_type='SEQ_CLS')"
    formula = "E <- [e_CLS; P; e_2 .. e_n]; P starts as random word embeddings"
    deviations = (
        "in encoders the vectors stand behind the first token; in front, as the library puts them, the head would "
        "read the first virtual token in place of [CLS]",
        "in decoders the head reads the last token that is not padding; the library's input of vectors makes it read "
        "the last position",
        "a new head is trained instead of verbalised labels",
        "AdamW with the run's schedule, where the paper uses Adafactor",
    )
    cost = Cost(
        forward=1.0,
        backward=0.0,
        frozen_backward=1.0,
        memory="optimiser state of the vectors and the head only",
        tokens=20,
    )
    search = {
        "settings.virtual_tokens": (5, 20, 50, 100),
        "training.learning_rate": (1e-3, 1e-2, 3e-2, 0.3),
    }
    alters_forward = True
    adds_positions = True
    unmergeable = "virtual tokens are a part of the input and not of any weight"

    class Config(AdapterMethod.Config):
        virtual_tokens: int = Field(20, gt=0, description="l: vectors added; the longest input gets shorter by as many")
        init: Literal["vocabulary", "random"] = Field(
            "vocabulary", description="vocabulary: embeddings of random words; random: N(0, 1); of a table only"
        )
        encoder: Literal["none", "mlp", "lstm"] = Field(
            "none", description="none: a table; mlp, lstm: the network of P-tuning over one"
        )
        encoder_width: int | None = Field(None, gt=0, description="width of that network; null: of the embeddings")

    def attach(self, context: Context) -> None:
        from ftbench.training.prompt import add_prompt

        asked = self.config
        add_prompt(context.model, asked.virtual_tokens, asked.init, asked.encoder, asked.encoder_width)

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        """The table of virtual tokens, also where a network makes it."""
        return with_table(super().export(state, context), context.model, "prompt")

    def reader(self) -> PromptTuning:
        return PromptTuning(self.config.model_copy(update={"encoder": "none"}))
