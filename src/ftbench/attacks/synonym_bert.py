"""The synonym attack of the Arabic study: the most important word gives way to what a masked language model predicts.

Paper: Alshahrani et al. (2024), Arabic Synonym BERT-based Adversarial Examples for Text Classification. Exactly one
word is attacked: the first, by what its deletion costs, that has candidates. Candidates: the model's 50 best
predictions behind a mask, of the same part of speech, in texts whose similarity is 0.80 at least. For any language
that has a masked language model.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ftbench.attacking.contract import Site
from ftbench.attacking.settings import Ranking
from ftbench.attacks.masked import MaskedSettings, MaskedSubstitution


class SynonymBert(MaskedSubstitution):
    name = "synonym_bert"
    summary = "one word, the most important, by predictions of a masked language model (the Arabic study)"
    paper = (
        "Alshahrani et al. (2024), Arabic Synonym BERT-based Adversarial Examples for Text Classification, Student "
        "Research Workshop of EACL"
    )
    reference_code = "released code of the paper"
    deviations = (
        "a success needs a text that was right before; `goal: prediction` is the released notion, by which any change "
        "of the predicted label counts, of wrong texts too. Rates in the tables keep to texts that were right before",
        "parts of speech are those that a lexicon lists for a word, where one is given: no tagger sees the sentence",
        "similarity is that of sim_model: 0.80 is not the same bound as with the paper's sentence encoder",
        "of candidates that flip the label the most similar one is taken, else the one that costs most",
        "texts are not chosen by length or for having no repeated tokens: the study's sample is attacked",
        "no word is a stop word by default: `stop_words` takes a list of the language",
    )

    class Config(MaskedSettings):
        ranking: Ranking = Field("delete", description="order of the words; as in the paper")
        flip_gain: bool = Field(False, description="a deletion that flips the label also counts what its class gains")
        flips_first: bool = Field(True, description="words whose deletion flips the label come before all others")
        tried_words: int | None = Field(
            1, gt=0, description="words that are tried, of those with candidates; null: all"
        )
        stop_words: str = Field("none", description="words never changed: `english`, `none`, or a file of lines")
        least_similarity: float | None = Field(
            0.8, ge=-1, le=1, description="cosine of sim_model that a changed text must reach; null: not asked"
        )

    def predicted(self, sites: Sequence[Site]) -> list[list[str]]:
        return self.words.hidden(self.places(sites), self.config.predictions)
