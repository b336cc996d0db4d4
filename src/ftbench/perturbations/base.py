"""The contract of a perturbation: a seeded edit of a text whose strength is a rate, and what an answer must do then.

The stage `perturb` calls plug-ins row by row; the stage `score_perturbed` asks what they expect. A perturbation sees
one text and a generator, never a model, a label or another row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Expectation:
    """What the answer on an edited text must do, as in CheckList (Ribeiro et al., 2020).

    same: neither the predicted label nor its probability changes; up or down: the probability of `label` does not move
    the other way. Without `label` it is the label predicted on the text before the edit.
    """

    direction: Literal["same", "up", "down"] = "same"
    label: str | None = None


class Perturbation(ABC):
    """Base of all perturbations; a plug-in defines `name`, `summary`, `strength` and `perturbed`.

    `strength` says what the rate is a rate of. `languages` is empty where any language will do. `keeps_label` is false
    where the true label of an edited text is not known any more: then nothing is scored but the direction.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    strength: ClassVar[str]
    paper: ClassVar[str] = ""
    languages: ClassVar[tuple[str, ...]] = ()
    keeps_label: ClassVar[bool] = True

    Config: ClassVar[type[Strict]] = Strict  # settings; a plug-in replaces it by a class of its own

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def expectation(self) -> Expectation:
        """What the answer must do."""
        return Expectation()

    @classmethod
    def obstacles(cls, config: Any, labels: Sequence[str]) -> list[str]:
        """Why these settings do not go with a set of these labels, in words; empty if they do."""
        return []

    @abstractmethod
    def perturbed(self, text: str, strength: float, generator: np.random.Generator) -> str:
        """The edited text. Strength 0 gives the text itself.

        What is drawn from `generator` may depend on the text and not on the strength: then the edits of a weaker
        perturbation are among those of a stronger one, and a curve over strengths has no jumps of its own.
        """


PLUGIN_BASE = Perturbation
