"""The cells of a study: which runs, soups, ensembles, paths and base artifacts it asks for.

The plan builds jobs from them and `collect` knows from them what is missing; both must see the same list,
so it is computed here and nowhere else, from the study alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ftbench import paths
from ftbench.config.errors import FtbenchError, nearest
from ftbench.config.families import Family
from ftbench.config.study import Study
from ftbench.language_cells import LanguageModel, language_models
from ftbench.plugins import plugin


@dataclass(frozen=True)
class Run:
    """One fine-tuning: task x model x method x variant x seed."""

    task: str
    model: str
    method: str
    variant: str
    seed: int

    @property
    def artifact(self) -> str:
        """The id of the run; also its folder below the study."""
        return paths.RUN.format(**self.__dict__)


@dataclass(frozen=True)
class Tuned:
    """The choice among the settings of one method; its trials are scored on `select` rows and never predicted."""

    task: str
    model: str
    method: str

    @property
    def cell(self) -> str:
        return f"tuning/{self.task}/{self.model}/{self.method}"


@dataclass(frozen=True)
class FamilyCell:
    """Runs that are combined, for one task and model; method and variant are None where the runs differ in them."""

    pattern: ClassVar[str]
    task: str
    model: str
    family: str  # name of the entry in the study
    method: str | None
    variant: str | None
    ingredients: tuple[Run, ...]

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.family, self.method, self.variant) if part is not None)

    @property
    def artifact(self) -> str:
        return self.pattern.format(task=self.task, model=self.model, name=self.name)


class SoupCell(FamilyCell):
    """One soup: the runs of a family, combined by one recipe."""

    pattern = paths.SOUP.replace("{soup}", "{name}")


class EnsembleCell(FamilyCell):
    """One ensemble: the mean output of the runs of a family."""

    pattern = paths.ENSEMBLE.replace("{ensemble}", "{name}")


class PathCell(FamilyCell):
    """Lines between the runs of a family; no artifact of its own."""

    pattern = paths.PATH.replace("{path}", "{name}")


@dataclass(frozen=True)
class Base:
    """The model before fine-tuning, evaluated on its prior task."""

    task: str
    model: str

    @property
    def artifact(self) -> str:
        return paths.BASE.format(task=self.task, model=self.model)


Artifact = Run | SoupCell | EnsembleCell | Base


def kind_of(cell: Artifact | LanguageModel) -> str:
    """What tables call an artifact of this kind."""
    kinds = {Run: "run", SoupCell: "soup", EnsembleCell: "ensemble", Base: "base", LanguageModel: "language_model"}
    return kinds[type(cell)]


def identity(cell: Artifact | LanguageModel) -> dict[str, Any]:
    """Who an artifact is, in the columns that tables of scores share; null where its runs are of several."""
    named = {name: getattr(cell, name, None) for name in ("method", "variant", "seed")}
    return {"task": cell.task, "model": cell.model, "artifact_kind": kind_of(cell), **named}


def runs(study: Study) -> Iterator[Run]:
    for task in study.tasks:
        for model in study.models:
            for method in study.methods:
                for variant in study.variants(method):
                    for seed in study.seeds:
                        yield Run(task, model, method, variant, seed)


def tunings(study: Study) -> Iterator[Tuned]:
    for task in study.tasks:
        for model in study.models:
            for method in study.methods:
                if study.tunes(method):
                    yield Tuned(task, model, method)


def soups(study: Study) -> Iterator[SoupCell]:
    for name, entry in study.soups.items():
        yield from (SoupCell(*place) for place in _places(study, name, entry))


def ensembles(study: Study) -> Iterator[EnsembleCell]:
    for name, entry in study.ensembles.items():
        yield from (EnsembleCell(*place) for place in _places(study, name, entry))


def lines(study: Study) -> Iterator[PathCell]:
    for name, entry in study.paths.items():
        yield from (PathCell(*place) for place in _places(study, name, entry))


def _places(
    study: Study, name: str, entry: Family
) -> Iterator[tuple[str, str, str, str | None, str | None, tuple[Run, ...]]]:
    """Task, model, name, method, variant and runs of each family of an entry."""
    methods = entry.methods or list(study.methods)
    pairs = [(method, variant) for method in methods for variant in study.variants(method)]

    def of(tasks: list[str], model: str, wanted: list[tuple[str, str]]) -> tuple[Run, ...]:
        return tuple(
            Run(task, model, method, variant, seed)
            for task in tasks
            for method, variant in wanted
            for seed in study.seeds
        )

    for task in study.tasks:
        for model in study.models:
            if entry.over == "methods":
                yield task, model, name, None, None, of([task], model, pairs)
            elif entry.over == "variants":
                for method in methods:
                    own = [pair for pair in pairs if pair[0] == method]
                    yield task, model, name, method, None, of([task], model, own)
            else:
                tasks = list(study.tasks) if entry.over == "tasks" else [task]
                for method, variant in pairs:
                    yield task, model, name, method, variant, of(tasks, model, [(method, variant)])


@dataclass(frozen=True)
class Attacked:
    """One attack with one of its seeds on one artifact."""

    attack: str  # name of the entry in the study
    target: Run | SoupCell
    seed: int

    @property
    def cell(self) -> str:
        return f"{self.attack}/{self.target.artifact}/a{self.seed}"


def attacks(study: Study, only: str | None = None) -> Iterator[Attacked]:
    """What the study attacks; `only` one of its entries."""
    for name, entry in study.attacks.items():
        if only not in (None, name):
            continue
        cells: list[Run | SoupCell] = [
            cell
            for cell in runs(study)
            if "run" in entry.kinds and (entry.run_seeds is None or cell.seed in entry.run_seeds)
        ]
        cells += [cell for cell in soups(study) if "soup" in entry.kinds]
        for cell in cells:
            if cell.task in (entry.tasks or study.tasks) and (entry.methods is None or cell.method in entry.methods):
                yield from (Attacked(name, cell, seed) for seed in attack_seeds(study, name))


def attack_seeds(study: Study, name: str) -> list[int]:
    """The seeds of an attack; an attack that draws at random is sampled three times."""
    entry = study.attacks[name]
    return entry.seeds or ([0, 1, 2] if plugin("attacks", entry.use or name).factory.draws else [0])


def attacked_sets(study: Study, name: str, task: str) -> list[str]:
    """The evaluation sets of a task that an attack starts from."""
    chosen = study.attacks[name].sets
    return [item for item, wanted in study.tasks[task].evaluate.items()
            if (wanted.role == "id" if chosen is None else item in chosen)]  # fmt: skip


def transferring(study: Study, task: str) -> list[Attacked]:
    """Attacks on artifacts of a task whose texts all artifacts of that task are asked about."""
    return [
        one
        for name, entry in study.attacks.items()
        if entry.transfer
        for one in attacks(study, name)
        if one.target.task == task and one.seed == attack_seeds(study, name)[0]
    ]


def transfer_targets(study: Study) -> list[Run | SoupCell]:
    """Every run and soup of the tasks in which something fools artifacts whose texts are passed on."""
    tasks = [task for task in study.tasks if transferring(study, task)]
    cells: list[Run | SoupCell] = [*runs(study), *soups(study)]
    return [cell for cell in cells if cell.task in tasks]


def bases(study: Study) -> Iterator[Base]:
    """Base artifacts exist where there is a prior task to score them on."""
    if study.prior:
        for task in study.tasks:
            for model in study.models:
                yield Base(task, model)


def scored(study: Study) -> Iterator[Run | SoupCell | EnsembleCell | Base]:
    """The artifacts that are scored on the evaluation sets."""
    yield from runs(study)
    yield from soups(study)
    yield from ensembles(study)
    yield from bases(study)


def perturbed(study: Study) -> Iterator[Run | SoupCell]:
    """The artifacts that are predicted on perturbed texts: all that have weights and a head of their own."""
    if study.perturbations:
        yield from runs(study)
        yield from soups(study)


def soup_artifact(task: str, model: str, name: str) -> str:
    """The id of a soup by its name."""
    return paths.SOUP.format(task=task, model=model, soup=name)


def detected(study: Study) -> Iterator[Run | SoupCell | EnsembleCell | LanguageModel]:
    """The artifacts whose scores of rows from outside a study asks for."""
    if study.detection:
        yield from runs(study)
        yield from soups(study)
        yield from ensembles(study)
        yield from language_models(study)


def embedded(study: Study) -> Iterator[Run | SoupCell]:
    """Those of them whose last layer is read: an ensemble has none."""
    if study.detection and study.detection.features:
        yield from runs(study)
        yield from soups(study)


def detection_sets(study: Study, task: str) -> tuple[str, list[str]]:
    """The set that stands for the task, and those that stand for the outside, in the order of the study."""
    wanted, sets = study.detection, study.tasks[task].evaluate
    assert wanted is not None
    inside = wanted.inside or next((name for name, item in sets.items() if item.role == "id"), None)
    outside = wanted.outside or [name for name, item in sets.items() if item.role == "ood"]
    strange = [name for name in (inside, *outside) if name is not None and name not in sets]
    if strange:
        raise FtbenchError(
            f"key `detection`: found `{strange[0]}`, which is no set of the task `{task}`. {nearest(strange[0], sets)}"
        )
    if inside is None or not sets[inside].labelled or inside in outside or not outside:
        raise FtbenchError(
            f"key `detection`: found `{inside}` inside and {outside} outside for the task `{task}`; expected a "
            "labelled set of role `id` and another set of role `ood`, or names under `inside` and `outside`"
        )
    return inside, outside
