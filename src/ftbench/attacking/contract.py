"""What the engine and an attack tell each other: places in a text, candidates, and what constraints say to them.

`attacks/base.py` builds the contract of plug-ins from these. Everything comes in sequences over many examples at once,
so that a plug-in can run its own model in full batches; answers must not depend on what else is in the sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ftbench.attacking.settings import AttackSettings
from ftbench.attacking.words import Words

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class Subject:
    """One example to attack: its texts and the index of its true label."""

    uid: str
    text_a: str
    text_b: str | None
    gold: int

    def attacks_second(self, settings: AttackSettings) -> bool:
        """Whether the second text of the pair is the one that is attacked."""
        return self.text_b is not None and settings.text != "text_a"


@dataclass(frozen=True)
class Site:
    """A word that may be changed. `other` is the pair's text that stays; `second` says which text is attacked."""

    uid: str
    original: Words
    current: Words  # with the changes that were made before
    position: int
    seed: int
    other: str | None = None
    second: bool = False

    @property
    def word(self) -> str:
        return self.current.words[self.position]

    def generator(self, *purpose: str | int) -> np.random.Generator:
        """The only randomness of an attack: a stream for this example, word and purpose under the attack's seed."""
        from ftbench.training.seeds import numpy_generator

        return numpy_generator(self.seed, "attack", self.uid, self.position, *purpose)


@dataclass(frozen=True)
class Case:
    """A candidate at its site."""

    site: Site
    replacement: str

    @property
    def changed(self) -> Words:
        """The text with the candidate."""
        return self.site.current.replaced({self.site.position: self.replacement})


class Verdict(NamedTuple):
    """What a constraint says of a case; `similarity` to the original where it measures one, higher is closer."""

    allowed: bool
    similarity: float | None = None


class Constraint(ABC):
    """Refuses candidates. Constraints are asked in order, each only about what those before it allowed; the last
    similarity measured decides among candidates that flip the label."""

    @abstractmethod
    def judge(self, cases: Sequence[Case]) -> list[Verdict]:
        """A verdict for each case, in order."""


class Option(NamedTuple):
    """A candidate that passed all constraints."""

    word: str
    similarity: float | None


@dataclass(frozen=True)
class Resources:
    """What an attack may read from the machine; nothing else, and nothing from the network."""

    victim: Path  # snapshot folder of the model that the attacked artifact was fine-tuned from
    snapshots: Mapping[str, Path]  # snapshot folders of the model entries that the attack names
    files: Mapping[str, Path]  # local files by the attack's key
    place: torch.device


class Proposer(Protocol):
    """What the engine needs of an attack."""

    @property
    def config(self) -> AttackSettings: ...

    def attackable(self, word: str) -> bool: ...

    def candidates(self, sites: Sequence[Site]) -> list[list[str]]: ...

    def constraints(self) -> Sequence[Constraint]: ...
