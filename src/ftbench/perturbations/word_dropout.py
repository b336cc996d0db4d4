"""Words left out. Any language that puts spaces between words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftbench.perturbations.base import Perturbation
from ftbench.perturbations.spans import WORDS, Sparing, spared

if TYPE_CHECKING:
    import numpy as np


class WordDropout(Perturbation):
    """Each word goes, with the white space behind it. Where all would go, the one with the highest draw stays."""

    name = "word_dropout"
    summary = "words left out"
    strength = "share of the words that are left out"
    paper = (
        "Iyyer, Manjunatha, Boyd-Graber and Daume (2015), Deep Unordered Composition Rivals Syntactic Methods for Text "
        "Classification"
    )

    class Config(Sparing):
        pass

    def perturbed(self, text: str, strength: float, generator: np.random.Generator) -> str:
        spans = [match.span() for match in WORDS.finditer(text)]
        closed = spared(text, self.config.spare, self.config.reach) if self.config.spare else []
        draws = generator.random(len(spans)).tolist()
        going = {
            at
            for at, (start, end) in enumerate(spans)
            if draws[at] < strength and not any(low < end and start < high for low, high in closed)
        }
        if not going:
            return text
        if len(going) == len(spans):
            going.remove(max(going, key=lambda at: draws[at]))
        starts = [start for start, _ in spans] + [len(text)]
        kept = text[: starts[0]] + "".join(
            text[starts[at] : starts[at + 1]] for at in range(len(spans)) if at not in going
        )
        return kept if text[-1].isspace() else kept.rstrip()
