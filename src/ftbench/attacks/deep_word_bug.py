"""DeepWordBug: small misspellings of the words that matter most.

Paper: Gao, Lanchantin, Soffa and Qi (2018), "Black-box generation of adversarial text sequences to evade deep learning
classifiers", arXiv 1801.04354.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ftbench.attacking.characters import LETTERS, EditDistance, deletions, insertions, substitutions, swaps
from ftbench.attacking.contract import Constraint, Site
from ftbench.attacking.settings import AttackSettings
from ftbench.attacks.base import Attack


class DeepWordBug(Attack):
    """For each word in the order of its importance: two neighbouring characters change places, one is substituted,
    one deleted, one inserted. Place and letter of each edit are drawn."""

    name = "deep_word_bug"
    summary = "swap, substitute, delete or insert a character of the most important words"
    paper = "Gao et al. 2018, arXiv 1801.04354"
    reference_code = "github.com/QData/TextAttack, textattack/attack_recipes/deepwordbug_gao_2018.py"
    deviations = (
        "Words are ranked by the unknown-word loss, as TextAttack's recipe does; the paper's own scores add the losses"
        " of the texts before and behind the word.",
        "The edit distance is added up over the changed words.",
    )
    draws = True

    class Config(AttackSettings):
        """Settings of DeepWordBug."""

        edits: int = Field(30, gt=0, description="most edits of characters between the text and the changed one")

    def candidates(self, sites: Sequence[Site]) -> list[list[str]]:
        return [self._edits(site) for site in sites]

    def constraints(self) -> Sequence[Constraint]:
        return (EditDistance(self.config.edits),)

    def _edits(self, site: Site) -> list[str]:
        word, generator = site.word, site.generator("characters")
        places = range(len(word))

        def one(found: list[str]) -> list[str]:
            return [found[int(generator.integers(len(found)))]] if found else []

        return [
            *one(swaps(word, places[:-1])),
            *one(substitutions(word, places, LETTERS)),
            *(one(deletions(word, places)) if len(word) > 1 else []),
            *one(insertions(word, range(len(word) + 1), LETTERS)),
        ]
