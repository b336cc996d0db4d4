"""How close a changed text is to the original: cosine of mean-pooled hidden states of an encoder, as a constraint.

The figures are those of `sim_model`, the model that a study names or the attacked artifact's own base model. They are
not those of the Universal Sentence Encoder, in whose scale papers give their thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.attacking.contract import Case, Constraint, Resources, Verdict
from ftbench.attacking.settings import AttackSettings
from ftbench.attacking.words import Words
from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Name

if TYPE_CHECKING:
    import numpy as np
    import torch

_REMEMBERED = 4096  # texts whose vectors are kept


class SimilaritySettings(AttackSettings):
    """Settings of attacks that may ask for a similarity to the original."""

    least_similarity: float | None = Field(
        None, ge=-1, le=1, description="cosine of sim_model that a changed text must reach; null: not asked"
    )
    sim_model: Name | None = Field(None, description="model entry whose mean-pooled states are compared; null: the base"
                                   " model of what is attacked")  # fmt: skip
    window: int | None = Field(None, gt=0, description="words around the changed one that are compared; null: all")
    shortest: int | None = Field(
        None, gt=0, description="texts of fewer words pass unasked (TextFooler's code: the window); null: none do"
    )
    compare: Literal["original", "current"] = Field(
        "original", description="with the first text, or with the text before the present change (TextFooler's code)"
    )

    def similarity_models(self) -> tuple[str, ...]:
        """Model entries that these settings want beside the victim's own."""
        return () if self.least_similarity is None or self.sim_model is None else (self.sim_model,)


class SentenceEncoder:
    """An encoder with its tokenizer, in eval mode on one device; texts become vectors of length 1."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, place: torch.device) -> None:
        self.model, self.tokenizer, self.place = model.to(place).eval(), tokenizer, place
        positions = int(getattr(model.config, "max_position_embeddings", 512))
        self.longest = min(int(tokenizer.model_max_length), positions - 2)
        self._known: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls, snapshot: Path, place: torch.device) -> SentenceEncoder:
        """From a model's folder, without its head."""
        from ftbench.training.mean_embeddings import load_encoder
        from ftbench.training.models import load_tokenizer

        return cls(load_encoder(snapshot, place), load_tokenizer(snapshot), place)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(texts, width), float32: means over the tokens' last hidden states, special tokens included, of length 1."""
        import numpy as np

        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(new) > _REMEMBERED:
            self._known, new = {}, list(dict.fromkeys(texts))
        self._known.update(zip(new, self._passed(new), strict=True))
        return np.stack([self._known[text] for text in texts])

    def _passed(self, texts: list[str]) -> np.ndarray:
        import numpy as np

        from ftbench.training.examples import Examples, encode
        from ftbench.training.mean_embeddings import mean_states

        means = mean_states(
            self.model, encode(self.tokenizer, Examples([""] * len(texts), texts, None, None), self.longest), self.place
        )
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        unit: np.ndarray = means / np.maximum(lengths, 1e-12)
        return unit


class SimilarTexts(Constraint):
    """Refuses texts whose cosine to the original (or the current text) is below a threshold."""

    def __init__(self, encoder: SentenceEncoder, settings: SimilaritySettings) -> None:
        if settings.least_similarity is None:
            raise FtbenchError("key `least_similarity`: found null; expected a cosine for a constraint on similarity")
        self.encoder, self.settings, self.least = encoder, settings, settings.least_similarity

    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        if not cases:
            return []
        pairs = [self._compared(case) for case in cases]
        first = self.encoder.vectors([pair[0] for pair in pairs])
        second = self.encoder.vectors([pair[1] for pair in pairs])
        cosines = (first * second).sum(axis=1).tolist()
        shortest = self.settings.shortest or 0
        return [
            Verdict(cosine >= self.least or len(case.site.current) < shortest, cosine)
            for case, cosine in zip(cases, cosines, strict=True)
        ]

    def _compared(self, case: Case) -> tuple[str, str]:
        before = case.site.original if self.settings.compare == "original" else case.site.current
        return self._around(before, case.site.position), self._around(case.changed, case.site.position)

    def _around(self, text: Words, position: int) -> str:
        """The words around a position; at the ends of a text the window moves inwards and keeps its width."""
        width = self.settings.window
        if width is None or width >= len(text):
            return text.text
        start = max(0, min(position - (width - 1) // 2, len(text) - width))
        end = start + width
        return Words(text.words[start:end], ("", *text.gaps[start + 1 : end], "")).text


def similarity(settings: SimilaritySettings, resources: Resources) -> list[Constraint]:
    """The constraint that the settings ask for, or none."""
    if settings.least_similarity is None:
        return []
    snapshot = resources.victim if settings.sim_model is None else resources.snapshots[settings.sim_model]
    return [SimilarTexts(SentenceEncoder.load(snapshot, resources.place), settings)]
