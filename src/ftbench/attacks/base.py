"""The contract of an attack: which words it may change, into what, and under which constraints.

An attack is one file with a class derived from `Attack`. The engine (`ftbench.attacking`) ranks words, asks the
victim, keeps count and decides; a plug-in proposes candidates and constraints, and writes no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from ftbench.attacking.contract import Constraint, Resources, Site
from ftbench.attacking.settings import AttackSettings


class Attack:
    """Base of all attacks."""

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    reference_code: ClassVar[str] = ""
    deviations: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False  # its candidates are drawn at random, so one seed is one sample of the attack
    same_tokenizer: ClassVar[bool] = False  # the models it names must cut text into the victim's tokens

    class Config(AttackSettings):
        """Settings of the attack; a plug-in replaces it by a subclass with its own keys and defaults."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def models(cls, config: Any) -> tuple[str, ...]:
        """Names of the model entries whose snapshots it reads, beside the victim's own, which is always there."""
        return ()

    @classmethod
    def files(cls, config: Any) -> dict[str, str | None]:
        """Local files that it reads, by key of the settings; null where a needed one is not given."""
        return {}

    @classmethod
    def local_files(cls, config: Any) -> dict[str, str | None]:
        """The same with what every attack may read: a list of stop words."""
        stop_words = config.stop_word_file()
        return {**cls.files(config), **({} if stop_words is None else {"stop_words": stop_words})}

    @classmethod
    def check(cls, config: Any, labels: list[str]) -> Iterable[str]:
        """Reasons why these settings cannot run on a classification with these labels; read before anything runs."""
        return ()

    def prepare(self, resources: Resources) -> None:
        """Read lists, vectors and models once, before the first example."""

    def attackable(self, word: str) -> bool:
        """Whether the attack may change this word; stop words and changed ones are never offered."""
        return True

    def candidates(self, sites: Sequence[Site]) -> list[list[str]]:
        """Replacements for the word of each site, best first and in a fixed order; the engine leaves out repeats and
        the word itself, and cuts the list at `most_candidates`. Sites are of many examples; draw with
        `site.generator` only."""
        raise TypeError(f"the attack {self.name} proposes no candidates")

    def constraints(self) -> Sequence[Constraint]:
        """What candidates must pass, cheap ones first; called once, after `prepare`."""
        return ()


PLUGIN_BASE = Attack
