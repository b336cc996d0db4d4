"""Misspellings that people make: inner characters swapped, left out, put in, or struck beside the key.

Paper: Pruthi, Dhingra and Lipton (2019), "Combating adversarial misspellings with robust word recognition", ACL 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ftbench.attacking.characters import LETTERS, deletions, insertions, neighbour_substitutions, swaps
from ftbench.attacking.contract import Site
from ftbench.attacking.settings import AttackSettings, Ranking
from ftbench.attacks.base import Attack


class Pruthi(Attack):
    """In words of at least four letters, first and last letter fixed: all inner swaps, deletions and neighbouring keys,
    and letters put in. All words are tried before each change; one or two words are changed."""

    name = "pruthi"
    summary = "one or two typing errors inside words, the worst of all possible ones"
    paper = "Pruthi et al. 2019, ACL, arXiv 1905.11268"
    reference_code = "github.com/danishpruthi/Adversarial-Misspellings, defenses/scRNN"
    deviations = (
        "At each place one letter is put in, drawn at random; the paper puts in each letter of the alphabet.",
        "More misspellings of a word than `most_candidates` are thinned out by a seeded draw.",
    )
    draws = True

    class Config(AttackSettings):
        """Settings of the misspellings."""

        ranking: Ranking = Field(
            "every_word", description="as in every attack; every_word: no order, as in the paper; none: left to right"
        )
        changed_words: int | None = Field(1, gt=0, description="words that are misspelt: 1 or 2 in the paper")
        least_length: int = Field(4, ge=4, description="letters of a word that is misspelt")

    def attackable(self, word: str) -> bool:
        least: int = self.config.least_length
        return len(word) >= least

    def candidates(self, sites: Sequence[Site]) -> list[list[str]]:
        return [self._misspellings(site) for site in sites]

    def _misspellings(self, site: Site) -> list[str]:
        word, generator = site.word, site.generator("misspellings")
        inner = range(1, len(word) - 1)
        found = [
            *swaps(word, inner[:-1]),
            *deletions(word, inner),
            *neighbour_substitutions(word, inner),
            *(
                insertions(word, [place], LETTERS[int(generator.integers(len(LETTERS)))])[0]
                for place in range(1, len(word))
            ),
        ]
        found = [other for other in dict.fromkeys(found) if other != word]
        most = self.config.most_candidates
        if len(found) <= most:
            return found
        chosen = generator.permutation(len(found))[:most]
        return [found[place] for place in sorted(chosen)]
