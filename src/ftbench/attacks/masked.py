"""What attacks have in common that ask a masked language model for other words.

BERT-Attack, BAE and the attack of the Arabic study derive from these two classes; this module is no plug-in itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.attacking.contract import Resources, Site
from ftbench.attacks.substitution import WordSettings, WordSubstitution, fitting
from ftbench.config.strict import Name

if TYPE_CHECKING:
    from ftbench.attacking.masked_words import MaskedWords, Place


class MaskedSettings(WordSettings):
    """Settings of attacks that ask a masked language model."""

    language_model: Name | None = Field(
        None, description="model entry with a trained masked-language-model head, of any tokenizer; null: the base"
        " model of what is attacked"
    )  # fmt: skip
    predictions: int = Field(50, gt=0, description="the model's best predictions that are looked at")


class MaskedSubstitution(WordSubstitution):
    """Base of such attacks; a plug-in says in `predicted` what it asks the model."""

    class Config(MaskedSettings):
        """Settings of the attack; a plug-in replaces it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._words: MaskedWords | None = None

    @classmethod
    def models(cls, config: Any) -> tuple[str, ...]:
        named = [*super().models(config), *([] if config.language_model is None else [config.language_model])]
        return tuple(dict.fromkeys(named))

    def prepare(self, resources: Resources) -> None:
        from ftbench.attacking.masked_words import MaskedWords

        super().prepare(resources)
        name = self.config.language_model
        snapshot = resources.victim if name is None else resources.snapshots[name]
        self._words = MaskedWords.load(snapshot, resources.place)

    @property
    def words(self) -> MaskedWords:
        assert self._words is not None
        return self._words

    def places(self, sites: Sequence[Site]) -> list[Place]:
        """Where the words stand in their texts as they are now."""
        from ftbench.attacking.masked_words import Place

        found = []
        for site in sites:
            start = len("".join(site.current.gaps[: site.position + 1]) + "".join(site.current.words[: site.position]))
            found.append(Place(site.current.text, start, start + len(site.word)))
        return found

    def predicted(self, sites: Sequence[Site]) -> list[list[str]]:
        """The model's words for each site, best first."""
        raise TypeError(f"the attack {self.name} asks the model nothing")

    def candidates(self, sites: Sequence[Site]) -> list[list[str]]:
        return [fitting(site.word, words) for site, words in zip(sites, self.predicted(sites), strict=True)]
