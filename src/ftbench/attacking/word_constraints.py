"""Constraints on a word and what takes its place: part of speech, opposites, distance of word vectors.

Attacks on words put them together. Each looks at the original word of the place, whatever stood there since.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ftbench.attacking.contract import Case, Constraint, Verdict
from ftbench.data.lexicon import Lexicon
from ftbench.data.word_vectors import WordVectors


def _original(case: Case) -> str:
    return case.site.original.words[case.site.position].lower()


class SamePart(Constraint):
    """Both words share a part of speech in a lexicon, inflected forms by their base forms. No tagger looks at the
    sentence: a word that may be noun or verb agrees with both. Words that the lexicon does not have agree with none."""

    def __init__(self, lexicon: Lexicon, noun_for_verb: bool = False) -> None:
        """`noun_for_verb`: nouns and verbs count as one part of speech, as in TextFooler."""
        self.lexicon, self.noun_for_verb = lexicon, noun_for_verb
        self._known: dict[str, frozenset[str]] = {}

    def parts(self, word: str) -> frozenset[str]:
        """Parts of speech of a lower-case word, verbs as nouns where these count as one."""
        if word not in self._known:
            found = self.lexicon.parts_of_speech(word)
            self._known[word] = frozenset("n" if self.noun_for_verb and part == "v" else part for part in found)
        return self._known[word]

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict(bool(self.parts(_original(case)) & self.parts(case.replacement.lower()))) for case in cases]


class NoOpposite(Constraint):
    """The candidate is not listed as an opposite of the word, both as they stand."""

    def __init__(self, opposites: Mapping[str, Collection[str]]) -> None:
        self.opposites = opposites

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        return [Verdict(case.replacement.lower() not in self.opposites.get(_original(case), ())) for case in cases]


class NearWords(Constraint):
    """The cosine of the two words' vectors reaches a threshold; words without a vector pass."""

    def __init__(self, vectors: WordVectors, least: float) -> None:
        self.vectors, self.least = vectors, least

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        found = [self.vectors.cosine(_original(case), case.replacement.lower()) for case in cases]
        return [Verdict(cosine is None or cosine >= self.least) for cosine in found]
