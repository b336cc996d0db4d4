"""What attacks have in common that put another word in the place of a word: lists, constraints, capitals.

Plug-ins of word substitution derive from these two classes; this module is none itself. A study names each list by a
path or below `data_root`, and models by their entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from ftbench.attacking.contract import Constraint, Resources, Site
from ftbench.attacking.similarity import SimilaritySettings, similarity
from ftbench.attacking.word_constraints import NoOpposite, SamePart
from ftbench.attacking.words import is_word
from ftbench.attacks.base import Attack
from ftbench.config.errors import FtbenchError
from ftbench.data.word_edits import in_case_of


class WordSettings(SimilaritySettings):
    """Settings of attacks that put other words in the place of words."""

    parts_of_speech: str | None = Field(
        None, description="lexicon (WordNet's folder, or Parquet of synsets with `pos`) in which word and candidate"
        " must share a part of speech; no tagger looks at the sentence; null: not asked"
    )  # fmt: skip
    antonyms: str | None = Field(
        None, description="pairs of opposites (WordNet's folder, Parquet with `word1` and `word2`, lines) that are"
        " refused; null: none"
    )  # fmt: skip


class WordSubstitution(Attack):
    """Base of attacks on words. One that finds candidates by the word alone overrides `replacements`, one that looks
    at the sentence overrides `candidates` and sends what it finds through `fitting`."""

    noun_for_verb = False  # whether nouns and verbs count as one part of speech

    class Config(WordSettings):
        """Settings of the attack; a plug-in replaces it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._constraints: list[Constraint] = []
        self._found: dict[str, list[str]] = {}

    @classmethod
    def models(cls, config: Any) -> tuple[str, ...]:
        return tuple(config.similarity_models())

    @classmethod
    def files(cls, config: Any) -> dict[str, str | None]:
        """The lists of constraints that are given; a plug-in adds its own."""
        given = {"parts_of_speech": config.parts_of_speech, "antonyms": config.antonyms}
        return {key: name for key, name in given.items() if name is not None}

    def prepare(self, resources: Resources) -> None:
        from ftbench.data.lexicon import read_antonyms, read_lexicon

        config = self.config
        if config.antonyms is not None:
            self._constraints.append(NoOpposite(read_antonyms(resources.files["antonyms"])))
        if config.parts_of_speech is not None:
            lexicon = read_lexicon(resources.files["parts_of_speech"])
            if not lexicon.has_parts:
                raise FtbenchError(
                    f"key `settings.parts_of_speech`: found {lexicon.source} without parts of speech; expected "
                    "WordNet's folder, or a Parquet file of synsets with the column `pos`"
                )
            self._constraints.append(SamePart(lexicon, self.noun_for_verb))
        self._constraints += similarity(config, resources)  # last: it passes texts through a model

    def replacements(self, word: str) -> Sequence[str]:
        """Candidates for a word as it stands, best first."""
        raise TypeError(f"the attack {self.name} proposes no candidates")

    def candidates(self, sites: Sequence[Site]) -> list[list[str]]:
        return [self.known(site.word) for site in sites]

    def known(self, word: str) -> list[str]:
        """The replacements of a word that fit it, looked up once."""
        if word not in self._found:
            self._found[word] = fitting(word, self.replacements(word))
        return self._found[word]

    def constraints(self) -> Sequence[Constraint]:
        return self._constraints


def fitting(word: str, others: Sequence[str]) -> list[str]:
    """Of candidates those that are one word and another one whatever their case, with the word's capital, each once."""
    return list(dict.fromkeys(in_case_of(word, other) for other in others
                              if is_word(other) and other.lower() != word.lower()))  # fmt: skip
