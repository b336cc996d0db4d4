"""TextFooler: words give way to their nearest neighbours among counter-fitted word vectors.

Paper: Jin et al. (2020), Is BERT Really Robust? A Strong Baseline for Natural Language Attack on Text Classification
and Entailment. Candidates: the 50 nearest vectors of cosine 0.5 at least, of the same part of speech (noun and verb
count as one), in texts that stay similar in a window of 15 words. Words in the order of what their deletion costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from ftbench.attacking.contract import Resources
from ftbench.attacking.settings import Ranking
from ftbench.attacks.substitution import WordSettings, WordSubstitution
from ftbench.data.word_vectors import WordVectors


class TextFooler(WordSubstitution):
    name = "textfooler"
    summary = "nearest counter-fitted word vectors of the same part of speech, in texts that stay similar"
    paper = (
        "Jin et al. (2020), Is BERT Really Robust? A Strong Baseline for Natural Language Attack on Text "
        "Classification and Entailment"
    )
    reference_code = "jind11/TextFooler; TextAttack 0.3.11, recipe textfooler-jin-2019"
    deviations = (
        "parts of speech are those that a lexicon lists for a word, where one is given: no tagger sees the sentence",
        "similarity is that of sim_model and not of the Universal Sentence Encoder: 0.7 is not the same bound there",
        "a changed text is compared with the original; `compare: current` is the released code's text of before",
        "a change stays only if it beats the current text; `accept: original` is the released code's rule",
        "at the ends of a text the window is moved inwards and keeps its width",
        "the stop words are scikit-learn's",
    )
    noun_for_verb = True

    class Config(WordSettings):
        ranking: Ranking = Field("delete", description="order of the words; as in the paper")
        vectors: str | None = Field(
            None, description="counter-fitted word vectors, as a path or below data_root: text or safetensors"
        )
        neighbours: int = Field(50, gt=0, description="nearest vectors that are candidates")
        least_cosine: float = Field(0.5, ge=-1, le=1, description="cosine that a candidate's vector must reach")
        least_similarity: float | None = Field(
            0.7, ge=-1, le=1, description="cosine of sim_model that a changed text must reach; null: not asked"
        )
        window: int | None = Field(15, gt=0, description="words around the changed one that are compared; null: all")
        shortest: int | None = Field(15, gt=0, description="texts of fewer words pass unasked; null: none do")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._vectors: WordVectors | None = None

    @classmethod
    def files(cls, config: Any) -> dict[str, str | None]:
        return {"vectors": config.vectors, **super().files(config)}

    def prepare(self, resources: Resources) -> None:
        from ftbench.data.word_vectors import read_vectors

        super().prepare(resources)
        self._vectors = read_vectors(resources.files["vectors"])

    def replacements(self, word: str) -> Sequence[str]:
        assert self._vectors is not None
        near = self._vectors.neighbours(word.lower(), self.config.neighbours, self.config.least_cosine)
        return [other for other, _ in near]
