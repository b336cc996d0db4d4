"""PWWS: words give way to synonyms from WordNet, in the order of their saliency times what a synonym gains.

Paper: Ren et al. (2019), Generating Natural Language Adversarial Examples through Probability Weighted Word Saliency.
Formula: H_i = softmax(S)_i (p_y(x) - min over synonyms of p_y(x with the synonym for w_i)), where S_i = p_y(x) -
p_y(x with w_i unknown); words are changed by falling H until the label flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from ftbench.attacking.contract import Resources
from ftbench.attacking.settings import Ranking
from ftbench.attacks.substitution import WordSettings, WordSubstitution
from ftbench.data.lexicon import Lexicon


class Pwws(WordSubstitution):
    name = "pwws"
    summary = "synonyms from WordNet, ordered by probability-weighted word saliency"
    paper = (
        "Ren et al. (2019), Generating Natural Language Adversarial Examples through Probability Weighted Word Saliency"
    )
    reference_code = "JHL-HUST/PWWS; TextAttack 0.3.11, recipe pwws-ren-2019"
    deviations = (
        "synonyms of every part of speech that the lexicon has for a word: no tagger looks at the sentence",
        "names are not exchanged for names of the other class (nor in TextAttack)",
        "in its turn a word is tried with all its synonyms in the text as it is by then, and stays if none lowers the "
        "true class's probability (the paper puts in the synonym that was best in the unchanged text)",
        "synonyms are sorted (TextAttack's order depends on the hash seed); the stop words are scikit-learn's",
        "words without synonyms are not asked about: their gain is 0, and the order of the others stays the same",
        "synonyms keep the capital of the word, not its inflection",
    )

    class Config(WordSettings):
        ranking: Ranking = Field("weighted_saliency", description="order of the words; as in the paper")
        lexicon: str | None = Field(
            None,
            description="synonyms, as a path or below data_root: WordNet's folder, Parquet (synsets, pairs), or lines",
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._lexicon: Lexicon | None = None

    @classmethod
    def files(cls, config: Any) -> dict[str, str | None]:
        return {"lexicon": config.lexicon, **super().files(config)}

    def prepare(self, resources: Resources) -> None:
        from ftbench.data.lexicon import read_lexicon

        super().prepare(resources)
        self._lexicon = read_lexicon(resources.files["lexicon"])

    def replacements(self, word: str) -> Sequence[str]:
        assert self._lexicon is not None
        return self._lexicon.synonyms(word)

    def attackable(self, word: str) -> bool:
        return bool(self.known(word))
