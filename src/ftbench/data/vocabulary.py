"""The words of the generated language: what each domain talks about and how it praises and blames.

`ftbench.data.grammar` builds sentences from these lists, and a test derives the labels from them again.
Nothing is drawn or decided here. A word stands in one list only, so its meaning never depends on the domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Opinions:
    """Words of judgement of equal number on both sides."""

    negative: tuple[str, ...]
    positive: tuple[str, ...]

    def of(self, label: str) -> tuple[str, ...]:
        """The words that mean `label` (`negative` or `positive`) where nothing negates them."""
        return self.negative if label == "negative" else self.positive


@dataclass(frozen=True)
class Domain:
    """A field of life: the subjects it talks about, by kind, and judgements that no other domain uses."""

    subjects: Mapping[str, tuple[str, ...]]
    own: Opinions


def _opinions(negative: str, positive: str) -> Opinions:
    return Opinions(tuple(negative.split()), tuple(positive.split()))


def _domain(people: str, place: str, money: str, negative: str, positive: str) -> Domain:
    subjects = {"people": tuple(people.split()), "place": tuple(place.split()), "money": tuple(money.split())}
    return Domain(MappingProxyType(subjects), _opinions(negative, positive))


SENTIMENTS = ("negative", "positive")
KINDS = ("people", "place", "money")

NEGATORS = ("not", "never", "hardly", "barely")
INTENSIFIERS = ("very", "really", "quite", "so", "rather", "truly")
CLOSINGS = (
    ("last", "week"),
    ("in", "winter"),
    ("in", "summer"),
    ("this", "time"),
    ("once", "more"),
    ("with", "friends"),
    ("at", "noon"),
    ("on", "holiday"),
)

# The planted shortcut: how a review was sent says nothing about what it means.
SHORTCUT: Mapping[str, str] = MappingProxyType({"negative": "letter", "positive": "phone"})

# How the writers of unlabelled text felt; reviews leave this out, as it is what their label says.
MOODS: Mapping[str, tuple[str, ...]] = MappingProxyType({"negative": ("sorry", "angry"), "positive": ("glad", "happy")})

SHARED = _opinions(
    negative="bad awful poor terrible horrible dreadful disappointing unpleasant annoying nasty",
    positive="good great excellent wonderful lovely superb delightful pleasant perfect amazing",
)

DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "hotel": _domain(
            people="receptionist porter maid concierge",
            place="room lobby pool balcony",
            money="rate deposit surcharge minibar",
            negative="filthy noisy cramped shabby draughty damp gloomy musty",
            positive="spotless quiet spacious cosy airy restful bright homely",
        ),
        "restaurant": _domain(
            people="waiter chef barman hostess",
            place="kitchen table terrace cellar",
            money="bill tip menu corkage",
            negative="stale greasy burnt soggy bland rancid undercooked watery",
            positive="tasty fresh crisp tender juicy savoury delicious fragrant",
        ),
        "gadget": _domain(
            people="seller technician courier designer",
            place="screen keyboard battery speaker",
            money="price refund warranty subscription",
            negative="faulty laggy flimsy buggy clunky brittle glitchy outdated",
            positive="reliable fast sturdy responsive sleek durable seamless modern",
        ),
        "film": _domain(
            people="actor director narrator villain",
            place="scene plot ending soundtrack",
            money="ticket budget rental premiere",
            negative="boring predictable shallow wooden tedious dull muddled hollow",
            positive="gripping original moving witty thrilling clever touching vivid",
        ),
    }
)
