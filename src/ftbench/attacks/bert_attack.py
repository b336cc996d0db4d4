"""BERT-Attack: words give way to what a masked language model predicts where they stand, the word in sight.

Paper: Li et al. (2020), BERT-ATTACK: Adversarial Attack Against BERT Using BERT. Candidates: the model's K best
predictions at the unmasked word; of a word of several pieces the combinations of its pieces' best predictions, by
their perplexity. At most 40 % of the words are changed, and texts stay similar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from ftbench.attacking.contract import Resources, Site
from ftbench.attacking.word_constraints import NearWords
from ftbench.attacks.masked import MaskedSettings, MaskedSubstitution


class BertAttack(MaskedSubstitution):
    name = "bert_attack"
    summary = "predictions of a masked language model that sees the word, on 40 % of the words at most"
    paper = "Li et al. (2020), BERT-ATTACK: Adversarial Attack Against BERT Using BERT"
    reference_code = "LinyangLee/BERT-Attack; TextAttack 0.3.11, recipe bert-attack"
    deviations = (
        "candidates are predicted in the text as it is by then (the released code predicts once, for the first text)",
        "of combinations of pieces only those are kept that spell one word",
        "importance is the true class's loss alone (the released code adds what a new top class gains)",
        "opposites are refused by a list or, as in the released code, by the cosine of vectors, where one is given",
        "similarity is that of sim_model and not of the Universal Sentence Encoder: 0.2 is not the same bound there",
        "predictions have no threshold (that of the released command line is 0)",
        "the stop words are scikit-learn's",
    )

    class Config(MaskedSettings):
        predictions: int = Field(48, gt=0, description="K: the model's best predictions (TextAttack: 8)")
        changed_share: float | None = Field(
            0.4, gt=0, le=1, description="most of a text's words changed; null: no limit"
        )
        least_similarity: float | None = Field(
            0.2, ge=-1, le=1, description="cosine of sim_model that a changed text must reach; null: not asked"
        )
        vectors: str | None = Field(
            None, description="word vectors, as a path or below data_root, by which opposites are refused; null: none"
        )
        least_cosine: float = Field(0.4, ge=-1, le=1, description="cosine that the two words' vectors must reach")

    @classmethod
    def files(cls, config: Any) -> dict[str, str | None]:
        return {**super().files(config), **({} if config.vectors is None else {"vectors": config.vectors})}

    def prepare(self, resources: Resources) -> None:
        from ftbench.data.word_vectors import read_vectors

        super().prepare(resources)
        if self.config.vectors is not None:
            vectors = read_vectors(resources.files["vectors"])
            self._constraints.insert(0, NearWords(vectors, self.config.least_cosine))

    def predicted(self, sites: Sequence[Site]) -> list[list[str]]:
        return self.words.visible(self.places(sites), self.config.predictions)
