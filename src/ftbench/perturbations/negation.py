"""A negation added behind a verb that takes one: `was good` becomes `was not good`. English, directional.

The label predicted before must not become more probable. What the true label is now, nobody has said, so no accuracy
is computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.perturbations.base import Expectation
from ftbench.perturbations.spans import Edit, SpanPerturbation, negator

_VERBS = re.compile(
    r"(?<![\w'])(?:am|is|are|was|were|can|could|will|would|should|must|may|might|does|did)(?=\s+(?P<next>[^\s]+))", re.I
)


class Negation(SpanPerturbation):
    """Each form of `be` and each modal verb that is not negated already is hit."""

    name = "negation"
    summary = "a negation added: the predicted label must not become more probable (English)"
    strength = "share of the forms of be and of the modal verbs that are negated"
    paper = "Ribeiro, Wu, Guestrin and Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"
    languages = ("en",)
    keeps_label = False

    class Config(Strict):
        word: str = Field("not", min_length=1, description="what is put in")

    @property
    def expectation(self) -> Expectation:
        return Expectation("down")

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        return ((match.end(), match.end()) for match in _VERBS.finditer(text) if not negator(match["next"]))

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        return Edit(start, end, f" {self.config.word}")
