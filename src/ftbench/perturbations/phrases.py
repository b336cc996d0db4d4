"""A sentence with a known leaning put before or behind a text. Directional; the language is that of the sentences.

The probability of the label that the sentences speak for must not fall. They come from the study, in its own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import nearest
from ftbench.config.strict import Strict
from ftbench.perturbations.base import Expectation, Perturbation
from ftbench.perturbations.spans import chosen

if TYPE_CHECKING:
    import numpy as np


class Phrases(Perturbation):
    """One sentence, each equally likely, is put to a text with a probability of `strength`."""

    name = "phrases"
    summary = "a sentence that speaks for a label added: its probability must not fall"
    strength = "share of the texts that get a sentence"
    paper = "Ribeiro, Wu, Guestrin and Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"
    keeps_label = False

    class Config(Strict):
        label: str = Field(description="label that the sentences speak for, as the evaluation sets name it")
        phrases: tuple[str, ...] = Field(min_length=1, description="sentences")
        place: Literal["end", "start"] = Field("end", description="where they go")

    @property
    def expectation(self) -> Expectation:
        return Expectation("up", self.config.label)

    @classmethod
    def obstacles(cls, config: Any, labels: Sequence[str]) -> list[str]:
        if config.label in labels:
            return []
        return [f"`label: {config.label}`, which is none of the labels {list(labels)}. {nearest(config.label, labels)}"]

    def perturbed(self, text: str, strength: float, generator: np.random.Generator) -> str:
        hit, which = generator.random(2).tolist()
        if hit >= strength:
            return text
        phrase = chosen(self.config.phrases, which)
        return f"{text} {phrase}" if self.config.place == "end" else f"{phrase} {text}"
