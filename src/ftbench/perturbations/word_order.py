"""Words that change places with each other.

Any language that puts spaces between words. The label of a text may rest on the order of its words: what is lost is
how much a model uses it, and not a fault alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ftbench.perturbations.base import Perturbation
from ftbench.perturbations.spans import WORDS, Sparing, spared

if TYPE_CHECKING:
    import numpy as np


class WordOrder(Perturbation):
    """Each word is taken out with a probability of `strength`; those taken out move on to each other's places.

    They do so in one random circle, so that none stays where it was; a single one stays. White space stays in place.
    """

    name = "word_order"
    summary = "words that change places"
    strength = "share of the words that change their place"
    paper = "Sinha, Parthasarathi, Pineau and Williams (2021), UnNatural Language Inference"

    class Config(Sparing):
        distance: int | None = Field(
            None, ge=1, description="words change places within stretches of so many words; null: in the whole text"
        )

    def perturbed(self, text: str, strength: float, generator: np.random.Generator) -> str:
        spans = [match.span() for match in WORDS.finditer(text)]
        closed = spared(text, self.config.spare, self.config.reach) if self.config.spare else []
        draws = generator.random((len(spans), 2)).tolist()
        width = self.config.distance or max(1, len(spans))
        words = [text[start:end] for start, end in spans]
        moved = list(words)
        for first in range(0, len(spans), width):
            taken = [
                at
                for at in range(first, min(first + width, len(spans)))
                if draws[at][0] < strength
                and not any(low < spans[at][1] and spans[at][0] < high for low, high in closed)
            ]
            circle = sorted(taken, key=lambda at: draws[at][1])
            for at, source in zip(circle, circle[1:] + circle[:1], strict=True):
                moved[at] = words[source]
        parts, last = [], 0
        for (start, end), word in zip(spans, moved, strict=True):
            parts += [text[last:start], word]
            last = end
        return "".join([*parts, text[last:]])
