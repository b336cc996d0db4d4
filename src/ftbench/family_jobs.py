"""The jobs that combine the runs of a family: soups, ensembles, and paths between them."""

from __future__ import annotations

from functools import cached_property

from ftbench import matrix
from ftbench.config.study import Training
from ftbench.data_jobs import DataJobs, PlannedJob
from ftbench.plugins import plugin
from ftbench.stages import ensemble, path, soup


class FamilyJobs(DataJobs):
    """Builds the jobs of soups, ensembles and paths."""

    @cached_property
    def artifacts(self) -> dict[str, matrix.Artifact]:
        """Every artifact by its id."""
        cells: list[matrix.Artifact] = [*matrix.bases(self.study), *matrix.runs(self.study)]
        cells += [*matrix.soups(self.study), *matrix.ensembles(self.study)]
        return {cell.artifact: cell for cell in cells}

    def soup(self, task: str, model: str, soup: str) -> PlannedJob:
        cell = self.artifacts[matrix.soup_artifact(task, model, soup)]
        assert isinstance(cell, matrix.SoupCell)
        entry = self.study.soups[cell.family]
        recipe = plugin("soups", entry.recipe)
        spec = _soup_spec(
            **self._about(cell),
            over=entry.over,
            artifact=cell.artifact,
            recipe=entry.recipe,
            config=recipe.factory.Config.model_validate(entry.settings).model_dump(mode="json"),
            collapsed=entry.collapsed,
            accumulate=entry.accumulate,
            form=entry.form,
            select_metric=self.resolver.select_metric(task),
        )
        readers = self._readers(cell)
        inputs = self._weights_of(cell, start=recipe.factory.needs_start or bool(readers) or entry.form == "as_runs")
        return PlannedJob("soup", cell.artifact, spec, (recipe.module, self._select_module(task), *readers), inputs)

    def path(self, task: str, model: str, path: str) -> PlannedJob:
        place = (task, model, path)
        cell = next(cell for cell in matrix.lines(self.study) if (cell.task, cell.model, cell.name) == place)
        entry = self.study.paths[cell.family]
        spec = _path_spec(
            **self._about(cell),
            path=cell.artifact,
            **entry.model_dump(include={"collapsed", "points", "pairs", "sets", "rows"}),
            metric=self.resolver.select_metric(task),
            prior=self.resolver.prior_head(entry.sets),
        )
        inputs = {
            **self._weights_of(cell, start=True),
            "evaluation": self._path("evaluation", task=task),
            "audit": self._path("audit", task=task),
        }
        return PlannedJob("path", cell.artifact, spec, (self._select_module(task), *self._readers(cell)), inputs)

    def ensemble(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        assert isinstance(cell, matrix.EnsembleCell)
        entry = self.study.ensembles[cell.family]
        spec = ensemble.Spec(
            artifact=artifact,
            mean=entry.mean,
            collapsed=entry.collapsed,
            ingredients=[run.artifact for run in cell.ingredients],
        )
        inputs = {"audit": self._path("audit", task=cell.task)}
        for position, run in enumerate(cell.ingredients):
            inputs[f"record{position}"] = self._path("run", **run.__dict__)
            inputs[f"predictions{position}"] = self._path("predictions", artifact=run.artifact)
        return PlannedJob("ensemble", artifact, spec, (), inputs)

    def _reading(self, cell: matrix.Artifact) -> tuple[dict[str, str], tuple[str, ...]]:
        """Inputs from which an artifact is read, and the modules of the methods that it takes to read it."""
        inputs = {"base": self._path("base", model=cell.model), **self._start(cell.model)}
        readers: tuple[str, ...] = ()
        if isinstance(cell, matrix.Run):
            readers = self.resolver.readers(cell.task, cell.method, cell.variant)
            files = {"record": "run", "model": "run_model"}
            inputs |= {name: self._path(pattern, **cell.__dict__) for name, pattern in files.items()}
        elif isinstance(cell, matrix.SoupCell):
            place = {"task": cell.task, "model": cell.model, "soup": cell.name}
            inputs |= {"record": self._path("recipe", **place), "model": self._path("soup_model", **place)}
            if self.study.soups[cell.family].form == "as_runs":
                readers = self._readers(cell)
        return inputs, readers

    def _precision(self, cell: matrix.Artifact) -> str:
        """In which an artifact predicts: as it was trained; half precision without its scaling would overflow."""
        precision = self._trainings_of(cell)[0].precision
        return "fp32" if precision == "fp16" else precision

    def _about(self, cell: matrix.FamilyCell) -> dict[str, object]:
        """What the specs of soups and paths share."""
        kind, labels = self.resolver.space(cell.task)
        return {
            "study": self.loaded.name,
            **{name: getattr(cell, name) for name in ("task", "model", "method", "variant", "family")},
            "ingredients": [run.artifact for run in cell.ingredients],
            "kind": kind,
            "labels": labels,
            "max_length": self._max_length(cell),
        }

    def _weights_of(self, cell: matrix.FamilyCell, start: bool) -> dict[str, str]:
        """Base, selection rows, records and weights of a family; with `start` the weights after the prior task."""
        inputs = {"base": self._path("base", model=cell.model), "select": self._path("select", task=cell.task)}
        for position, run in enumerate(cell.ingredients):
            inputs[f"record{position}"] = self._path("run", **run.__dict__)
            inputs[f"model{position}"] = self._path("run_model", **run.__dict__)
        return {**inputs, **(self._start(cell.model) if start else {})}

    def _readers(self, cell: matrix.FamilyCell) -> tuple[str, ...]:
        """Modules of the methods that it takes to read the runs' weights files."""
        settings = dict.fromkeys((run.task, run.method, run.variant) for run in cell.ingredients)
        return tuple(dict.fromkeys(module for setting in settings for module in self.resolver.readers(*setting)))

    def _start(self, model: str) -> dict[str, str]:
        """The weights after the prior task; of plain text the base model's own."""
        if self.study.prior is None or self.resolver.prior_is_text:
            return {}
        return {"start": self._path("upstream_model", prior=self.study.prior.name, model=model)}

    def _select_module(self, task: str) -> str:
        return plugin("metrics", self.resolver.select_metric(task)).module

    def _trainings_of(self, cell: matrix.Artifact | matrix.FamilyCell) -> list[Training]:
        if isinstance(cell, matrix.Base):
            return [self.resolver.prior_training()]
        runs = cell.ingredients if isinstance(cell, matrix.FamilyCell) else (cell,)
        return [self.resolver.method(run.task, run.method, run.variant)[1] for run in runs]

    def _max_length(self, cell: matrix.Artifact | matrix.FamilyCell) -> int:
        return max(training.max_length for training in self._trainings_of(cell))


# the methods above are named after their stages and hide the modules inside the class
_soup_spec, _path_spec = soup.Spec, path.Spec
