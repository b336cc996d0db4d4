"""BAE-R: words give way to what a masked language model predicts in their place, the word hidden.

Paper: Garg and Ramakrishnan (2020), BAE: BERT-based Adversarial Examples for Text Classification, its mode of
replacement. Candidates: the model's 50 best predictions behind a mask, of the same part of speech, in texts whose
similarity is 0.936 at least. Words in the order of what their deletion costs.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ftbench.attacking.contract import Site
from ftbench.attacking.settings import Ranking
from ftbench.attacks.masked import MaskedSettings, MaskedSubstitution


class BaeReplace(MaskedSubstitution):
    name = "bae_r"
    summary = "predictions of a masked language model behind a mask, in texts that stay similar"
    paper = "Garg and Ramakrishnan (2020), BAE: BERT-based Adversarial Examples for Text Classification"
    reference_code = "TextAttack 0.3.11, recipe bae (written by the paper's authors)"
    deviations = (
        "parts of speech are those that a lexicon lists for a word, where one is given: no tagger sees the sentence",
        "similarity is that of sim_model and not of the Universal Sentence Encoder: 0.936 is not the same bound there",
        "at the ends of a text the window is moved inwards and keeps its width",
        "tokens that continue a word are no candidates, nor is what is no word; the stop words are scikit-learn's",
    )

    class Config(MaskedSettings):
        ranking: Ranking = Field("delete", description="order of the words; as in the paper")
        flip_gain: bool = Field(False, description="a deletion that flips the label also counts what its class gains")
        least_similarity: float | None = Field(
            0.936338023, ge=-1, le=1, description="cosine of sim_model that a changed text must reach; null: not asked"
        )
        window: int | None = Field(15, gt=0, description="words around the changed one that are compared; null: all")
        shortest: int | None = Field(15, gt=0, description="texts of fewer words pass unasked; null: none do")

    def predicted(self, sites: Sequence[Site]) -> list[list[str]]:
        return self.words.hidden(self.places(sites), self.config.predictions)
