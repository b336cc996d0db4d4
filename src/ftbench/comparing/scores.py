"""The scores of all runs by what is compared: a set and metric, a method and variant, a seed.

Both parts of the stage `compare` begin here. Selection sets are left out, because methods were tuned on them, and so
are soups, which have no seeds to pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from ftbench.config.study import Study

# the leading metrics of classification and regression where a task names none
LEADING = ("accuracy", "pearson", "word_accuracy")


class Rival(NamedTuple):
    """A method and variant."""

    method: str
    variant: str


class Place(NamedTuple):
    """Where methods are compared."""

    task: str
    model: str
    metric: str
    eval_set: str


@dataclass(frozen=True)
class About:
    """What is the same for all scores of a place."""

    role: str
    higher_is_better: bool
    unit: str
    rows: int  # examples scored


@dataclass
class Scores:
    """Scores by place, rival and seed, undefined ones left out; places in the order of the table."""

    places: dict[Place, About] = field(default_factory=dict)
    values: dict[tuple[Place, Rival], dict[int, float]] = field(default_factory=dict)
    artifacts: dict[tuple[str, str, Rival, int], str] = field(default_factory=dict)

    def of(self, place: Place, rival: Rival) -> dict[int, float]:
        """Score by seed; empty where there is none."""
        return self.values.get((place, rival), {})

    def leads(self, study: Study, place: Place) -> bool:
        """Whether the place's metric is the one that a leaderboard shows for its set."""
        about = self.places[place]
        known = (
            metric for metric in leading(study, place.task, about.role) if place._replace(metric=metric) in self.places
        )
        return next(known, None) == place.metric


def leading(study: Study, task: str, role: str) -> tuple[str, ...]:
    """Metrics of a task's sets, the first that is there leads; a prior task has metrics of its own."""
    return LEADING if role == "prior" else (*study.tasks[task].metrics[:1], *LEADING)


def rivals(study: Study) -> list[Rival]:
    """Every method and variant, in the order of the study."""
    return [Rival(method, variant) for method in study.methods for variant in study.variants(method)]


def arranged(metrics: pa.Table) -> Scores:
    """The scores of the table `metrics`."""
    from pyarrow import compute

    wanted = compute.and_(
        compute.equal(metrics.column("artifact_kind"), "run"), compute.not_equal(metrics.column("role"), "select")
    )
    table = metrics.filter(wanted)
    found = Scores()
    columns = ("task", "model", "metric", "eval_set", "method", "variant", "seed", "value")
    about = ("role", "higher_is_better", "unit", "n", "artifact_id")
    rows: Iterable[tuple[Any, ...]] = zip(*(table.column(name).to_pylist() for name in (*columns, *about)), strict=True)
    for task, model, metric, eval_set, method, variant, seed, value, role, higher, unit, count, artifact in rows:
        place, rival = Place(task, model, metric, eval_set), Rival(method, variant)
        if place not in found.places:
            found.places[place] = About(role, higher, unit, count)
        found.artifacts[task, model, rival, seed] = artifact
        if value is not None:
            found.values.setdefault((place, rival), {})[seed] = value
    return found
