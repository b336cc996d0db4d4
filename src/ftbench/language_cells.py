"""The cells of a study that are language models: they tell rows from outside and predict no label.

`matrix` has all other cells; like them, these are computed from the study alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ftbench import paths
from ftbench.config.study import Study


@dataclass(frozen=True)
class LanguageModel:
    """A language model before and after the texts of a task."""

    task: str
    model: str

    @property
    def artifact(self) -> str:
        return paths.LIKELIHOOD.format(task=self.task, model=self.model)


def language_models(study: Study) -> Iterator[LanguageModel]:
    """The language models whose likelihoods tell rows from outside, one for each task and model."""
    if study.detection and study.detection.likelihood:
        for task in study.tasks:
            for model in study.detection.likelihood.models or study.models:
                yield LanguageModel(task, model)
