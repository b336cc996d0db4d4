"""Words that say nothing, put in where no negation is near: an edit that is safe for negations and for the label.

The default fillers are English; a list of another language, and its negators under `spare`, make it another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field

from ftbench.perturbations.spans import NEGATIONS, WORDS, Edit, SpanPerturbation, Sparing, chosen


class Fillers(SpanPerturbation):
    """Before each word outside a negation's reach a filler is put in, set off by nothing but a space."""

    name = "fillers"
    summary = "words that say nothing put in, never near a negation (English by default)"
    strength = "fillers put in for each word that is not in the reach of a negation"
    paper = "Ribeiro, Wu, Guestrin and Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"

    class Config(Sparing):
        spare: tuple[str, ...] = Field((NEGATIONS,), description="words in whose reach nothing is put in")
        fillers: tuple[str, ...] = Field(
            ("well", "you know", "I mean", "as it were", "so to speak"),
            min_length=1,
            description="what is put in, each equally likely",
        )

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        return ((match.start(), match.start()) for match in WORDS.finditer(text))

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        return Edit(start, end, f"{chosen(self.config.fillers, draws[0])} ")
