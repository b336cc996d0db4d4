"""Settings that every attack has: which text, how words are ranked, what may be changed, how much may be asked.

An attack's `Config` derives from `AttackSettings` and changes defaults to those of its paper. Everything here is part
of what is measured; how many examples are attacked at once is not, and stands elsewhere.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftbench.config.strict import Strict

Ranking = Literal["unk", "delete", "weighted_saliency", "every_word", "none"]


class AttackSettings(Strict):
    """What the engine needs to know of every attack."""

    text: Literal["last", "text_a", "text_b"] = Field(
        "last", description="which text of a pair is attacked; last: the second where there are two"
    )
    ranking: Ranking = Field(
        "unk",
        description="order of the words: by the loss of the true class's probability with the word unknown, or deleted;"
        " weighted_saliency: by softmax of the former times the best candidate's loss (PWWS); none: from left to right."
        " every_word: no order, all candidates of all words are tried before each change",
    )
    flip_gain: bool = Field(
        True, description="ranking `delete`: a deletion that flips the label also counts what its new class gains"
    )
    flips_first: bool = Field(
        False, description="ranking `delete`: words whose deletion flips the label come before all others"
    )
    goal: Literal["gold", "prediction"] = Field(
        "gold", description="a success is a text whose true label is no longer predicted; prediction: one whose first"
        " prediction changes, whether that was right or not (as the Arabic study counts)",
    )  # fmt: skip
    accept: Literal["current", "original"] = Field(
        "current", description="a change stays if the true class gets less probable than in the current text, or only"
        " than in the original text (TextFooler's code)",
    )  # fmt: skip
    changed_words: int | None = Field(None, gt=0, description="most words changed in a text; null: no limit")
    changed_share: float | None = Field(None, gt=0, le=1, description="most of a text's words changed; null: no limit")
    tried_words: int | None = Field(
        None, gt=0, description="words that are tried, of those with candidates, the most important first; null: all"
    )
    stop_words: str = Field(
        "english", description="words never changed: `english`, `none`, or a file with a word on each line"
    )
    most_words: int = Field(128, gt=0, description="words of a text that are attacked: the first ones")
    most_candidates: int = Field(50, gt=0, description="candidates tried for a word: the attack's first ones")
    budget: int | None = Field(None, gt=0, description="queries for one example; null: no limit")

    def stop_word_file(self) -> str | None:
        """The path of the file with stop words; null where the setting names a list, or nothing."""
        return None if self.stop_words in ("english", "none") else self.stop_words
