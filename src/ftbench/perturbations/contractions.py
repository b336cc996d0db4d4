"""Contractions written out, and full forms contracted: `isn't` and `is not`. English.

Only pairs that mean the same whatever stands around them: `it's` is read as `it is`, `'s` behind nouns (which may be a
genitive) and `'d` (had or would) are left alone. A negation stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.perturbations.spans import Edit, SpanPerturbation, like

_NOT = ("is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "could", "should", "would", "must")
_PRONOUNS = {
    "am": ["i"],
    "are": ["you", "we", "they"],
    "have": ["i", "you", "we", "they"],
    "will": ["i", "you", "he", "she", "it", "we", "they"],
    "is": ["he", "she", "it", "that", "there", "what", "who", "where", "here", "how"],
}
_ENDINGS = {"am": "'m", "are": "'re", "have": "'ve", "will": "'ll", "is": "'s"}


@cache
def pairs() -> dict[str, str]:
    """Contraction to full form, in small letters."""
    found = {"can't": "cannot", "won't": "will not", "shan't": "shall not", "let's": "let us"}
    found |= {f"{verb}n't": f"{verb} not" for verb in _NOT}
    found |= {f"{word}{_ENDINGS[verb]}": f"{word} {verb}" for verb, words in _PRONOUNS.items() for word in words}
    return found


@cache
def _pattern(direction: str) -> re.Pattern[str]:
    short, full = sorted(pairs(), key=len, reverse=True), sorted(pairs().values(), key=len, reverse=True)
    # a full form at the end of a clause is stressed and has no short form (`Yes, it is.`), one with `not` may
    full_forms = [form if form.endswith("not") else rf"{form}(?=\s+(?!not\b)\w)" for form in full]
    parts = {"expand": short, "contract": full_forms, "both": short + full_forms}[direction]
    return re.compile(rf"(?<![\w'])(?:{'|'.join(parts)})(?![\w'])", re.I)


class Contractions(SpanPerturbation):
    """Each contraction, and each full form that has one, is hit."""

    name = "contractions"
    summary = "contractions written out and full forms contracted (English)"
    strength = "share of the contractions and of the full forms that have one that are hit"
    paper = "Ribeiro, Wu, Guestrin and Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"
    languages = ("en",)

    class Config(Strict):
        direction: Literal["both", "expand", "contract"] = Field("both", description="which way")

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        plain = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        return (match.span() for match in _pattern(self.config.direction).finditer(plain))

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        old = text[start:end].replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
        key = " ".join(old.lower().split())
        back = {full: short for short, full in pairs().items()}
        new = pairs().get(key) or back[key]
        return Edit(start, end, like(new, old))
