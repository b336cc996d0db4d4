"""The jobs of perturbations: edited texts of a task, an artifact's predictions of them, and their scores.

They hang beside the ordinary predictions and never before them: a study that adds a perturbation trains nothing and
predicts no ordinary set again.
"""

from __future__ import annotations

from typing import Any

from ftbench import matrix
from ftbench.data_jobs import PlannedJob
from ftbench.family_jobs import FamilyJobs
from ftbench.plugins import plugin
from ftbench.stages import perturb, predict_perturbed, score_perturbed


class PerturbJobs(FamilyJobs):
    """Builds the jobs of perturbations."""

    def perturb(self, task: str) -> PlannedJob:
        found = {
            name: perturb.Edited(
                plugin=entry.plugin(name),
                config=_config(entry.plugin(name), entry.settings),
                sets=self.resolver.perturbed_sets(task, entry),
                **entry.model_dump(include={"strengths", "rows", "seeds", "texts"}),
            )
            for name, entry in self.study.perturbations.items()
        }
        spec = _perturb_spec(task=task, perturbations=found)
        inputs = {"evaluation": self._path("evaluation", task=task), "audit": self._path("audit", task=task)}
        return PlannedJob("perturb", task, spec, self._perturbing(), inputs)

    def predict_perturbed(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        assert isinstance(cell, matrix.Run | matrix.SoupCell)
        kind, labels = self.resolver.space(cell.task)
        read, readers = self._reading(cell)
        spec = _predict_spec(
            artifact=artifact,
            kind=kind,
            labels=labels,
            max_length=self._max_length(cell),
            precision=self._precision(cell),
        )
        inputs = {
            "perturbed": self._path("perturbed", task=cell.task),
            "audit": self._path("audit", task=cell.task),
            **read,
        }
        return PlannedJob("predict_perturbed", artifact, spec, readers, inputs)

    def score_perturbed(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        metric = self.resolver.metrics(cell.task)[0]
        spec = _score_spec(
            artifact=artifact,
            study=self.loaded.name,
            **matrix.identity(cell),
            metric=metric,
            perturbations={
                name: score_perturbed.Scored(
                    plugin=entry.plugin(name),
                    config=_config(entry.plugin(name), entry.settings),
                    strengths=entry.strengths,
                    seeds=entry.seeds,
                )
                for name, entry in self.study.perturbations.items()
            },
        )
        inputs = {
            "predictions": self._path("perturbed_predictions", artifact=artifact),
            "audit": self._path("audit", task=cell.task),
        }
        modules = (plugin("metrics", metric).module, *self._perturbing())
        return PlannedJob("score_perturbed", artifact, spec, modules, inputs)

    def _perturbing(self) -> tuple[str, ...]:
        """Modules of the study's perturbations."""
        names = (entry.plugin(name) for name, entry in self.study.perturbations.items())
        return tuple(sorted({plugin("perturbations", name).module for name in names}))


def _config(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a plug-in with its defaults, as JSON."""
    config: dict[str, Any] = (
        plugin("perturbations", name).factory.Config.model_validate(settings).model_dump(mode="json")
    )
    return config


# the methods above are named after their stages and hide the modules inside the class
_perturb_spec, _predict_spec, _score_spec = perturb.Spec, predict_perturbed.Spec, score_perturbed.Spec
