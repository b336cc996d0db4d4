"""The cells of a study: which runs, soups and base artifacts it asks for.

The plan builds jobs from them and `collect` knows from them what is missing; both must see the same list,
so it is computed here and nowhere else, from the study alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ftbench import paths
from ftbench.config.study import Study


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
class SoupCell:
    """One soup: the seeds of one method and variant, combined by one recipe."""

    task: str
    model: str
    family: str
    method: str
    variant: str
    ingredients: tuple[Run, ...]

    @property
    def name(self) -> str:
        return f"{self.family}-{self.method}-{self.variant}"

    @property
    def artifact(self) -> str:
        return paths.SOUP.format(task=self.task, model=self.model, soup=self.name)


@dataclass(frozen=True)
class Base:
    """The model before fine-tuning, evaluated on its prior task."""

    task: str
    model: str

    @property
    def artifact(self) -> str:
        return paths.BASE.format(task=self.task, model=self.model)


Artifact = Run | SoupCell | Base


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
    for family, soup in study.soups.items():
        for task in study.tasks:
            for model in study.models:
                for method in soup.methods or list(study.methods):
                    for variant in study.variants(method):
                        ingredients = tuple(Run(task, model, method, variant, seed) for seed in study.seeds)
                        yield SoupCell(task, model, family, method, variant, ingredients)


def bases(study: Study) -> Iterator[Base]:
    """Base artifacts exist where there is a prior task to score them on."""
    if study.prior:
        for task in study.tasks:
            for model in study.models:
                yield Base(task, model)


def soup_artifact(task: str, model: str, name: str) -> str:
    """The id of a soup by its name."""
    return paths.SOUP.format(task=task, model=model, soup=name)
