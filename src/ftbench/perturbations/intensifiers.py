"""Words of judgement made stronger: `good` becomes `very good`. Directional; English by default.

The label predicted before must not become less probable. The true label stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.data.lexicon import lexicon_path
from ftbench.perturbations.base import Expectation
from ftbench.perturbations.spans import LETTERS, Edit, SpanPerturbation, chosen, negator

JUDGEMENTS = (
    "amazing annoying awful awkward bad beautiful bland boring bright brilliant charming cheap clever clumsy "
    "comfortable confusing convincing cool cosy crisp cute delicious delightful dirty disappointing dreadful dull "
    "easy elegant excellent exciting expensive fast fine flimsy fragile fresh friendly fun funny gloomy good "
    "great gripping handy happy heavy helpful horrible impressive interesting juicy kind lazy light likeable "
    "lovely messy modern moving nasty nice noisy odd original outdated painful pleasant polite poor predictable "
    "pretty quick quiet reliable rude sad safe shallow sharp silly simple slow smart smooth solid spacious stale "
    "stupid sturdy superb sweet tasty tedious tender terrible thrilling tired touching ugly unpleasant useful "
    "useless vivid warm weak wonderful wooden wrong"
)


class Intensifiers(SpanPerturbation):
    """Each listed word that no intensifier and no negator stands before is hit."""

    name = "intensifiers"
    summary = "words of judgement made stronger: the predicted label must not become less probable (English by default)"
    strength = "share of the listed words of judgement that are made stronger"
    paper = "Ribeiro, Wu, Guestrin and Singh (2020), Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"

    class Config(Strict):
        intensifiers: tuple[str, ...] = Field(
            ("very", "really", "truly", "extremely"), min_length=1, description="what is put in, each equally likely"
        )
        judgements: str | None = Field(
            None, description="text file of words of judgement, as a path or below data_root; null: our own, English"
        )

    @property
    def expectation(self) -> Expectation:
        return Expectation("up")

    @cached_property
    def _listed(self) -> frozenset[str]:
        if self.config.judgements is None:
            return frozenset(JUDGEMENTS.split())
        return frozenset(lexicon_path(self.config.judgements, "judgements").read_text(encoding="utf-8").lower().split())

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        stronger = {word.lower() for word in self.config.intensifiers} | {
            "so",
            "too",
            "quite",
            "rather",
            "more",
            "most",
        }
        for match in LETTERS.finditer(text):
            before = text[: match.start()].split()[-1:]
            free = not before or not (before[0].lower() in stronger or negator(before[0]))
            if free and match[0].lower() in self._listed:
                yield match.start(), match.start()

    def edit(self, text: str, start: int, end: int, draws: Sequence[float]) -> Edit:
        return Edit(start, end, f"{chosen(self.config.intensifiers, draws[0])} ")
