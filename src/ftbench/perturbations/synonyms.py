"""Words by synonyms, from a list that the user brings. The language is the list's.

A list is WordNet as Parquet, pairs of words or plain lines, as `ftbench.data.lexicon` reads them; nothing is fetched.
A synonym of one meaning of a word may fit another one badly, and no tagger looks at it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from pydantic import Field

from ftbench.data.lexicon import lexicon_path, read_synonyms
from ftbench.data.word_edits import stop_words
from ftbench.perturbations.spans import LETTERS, Edit, SpanPerturbation, Sparing, chosen, like


class Synonyms(SpanPerturbation):
    """Each word that has synonyms and is no stop word is hit; one synonym takes its place, with its capitals."""

    name = "synonyms"
    summary = "words replaced by synonyms of a list"
    strength = "share of the words with a synonym, stop words aside, that are replaced"
    paper = "Zhang, Zhao and LeCun (2015), Character-level Convolutional Networks for Text Classification"

    class Config(Sparing):
        synonyms: str = Field(
            description="file of synonyms, as a path or below data_root: Parquet (WordNet synsets, pairs) or lines"
        )
        synonyms_sha256: str | None = Field(None, description="what that file has to hash to; null: not compared")

    @cached_property
    def _listed(self) -> dict[str, tuple[str, ...]]:
        return read_synonyms(lexicon_path(self.config.synonyms), self.config.synonyms_sha256)

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        for match in LETTERS.finditer(text):
            word = match[0].lower()
            if word in self._listed and word not in stop_words():
                yield match.span()

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        old = text[start:end]
        return Edit(start, end, like(chosen(self._listed[old.lower()], draws[0]), old))
