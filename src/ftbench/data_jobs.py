"""The jobs of a study before any training: data sets, tasks, models. What a job is, is said here too."""

from __future__ import annotations

from dataclasses import dataclass

from ftbench.acceptance import standing_for
from ftbench.config.load import Catalogue, LoadedStudy
from ftbench.config.strict import Strict
from ftbench.config.study import Study
from ftbench.fingerprint import fingerprint
from ftbench.paths import StudyPaths, data_root, study_paths
from ftbench.resolve import Resolver
from ftbench.stages import base, shift, split


@dataclass(frozen=True)
class PlannedJob:
    """One job: what it computes, from which sources, with which inputs."""

    stage: str
    cell: str
    spec: Strict
    modules: tuple[str, ...]  # plug-ins beyond the stage itself
    inputs: dict[str, str]

    @property
    def source(self) -> str:
        """The fingerprint that the job is told: of its sources, or of those that an accepted change left behind."""
        return standing_for(fingerprint(self.sources))

    @property
    def sources(self) -> tuple[str, ...]:
        """The modules that the fingerprint starts from."""
        return (f"ftbench.stages.{self.stage}", *self.modules)


class DataJobs:
    """Builds the jobs that come before the cells."""

    def __init__(self, loaded: LoadedStudy, catalogue: Catalogue) -> None:
        self.loaded, self.catalogue = loaded, catalogue
        self.study: Study = loaded.study
        self.paths: StudyPaths = study_paths(loaded.name)
        self.resolver = Resolver(loaded.study, catalogue)

    def _path(self, name: str, **wildcards: object) -> str:
        return str(self.paths.path(name, **wildcards))

    def fetch(self, dataset: str) -> PlannedJob:
        spec, files = self.resolver.fetch(dataset, data_root())
        modules = (f"ftbench.data.{spec.generated.generator}",) if spec.generated else ()
        return PlannedJob("fetch", dataset, spec, modules, {name: str(file) for name, file in files.items()})

    def prepare(self, dataset: str) -> PlannedJob:
        inputs = {
            "fetched": self._path("fetched", dataset=dataset),
            "record": self._path("fetched_record", dataset=dataset),
        }
        return PlannedJob("prepare", dataset, self.resolver.prepare(dataset, data_root()), (), inputs)

    def split(self, task: str) -> PlannedJob:
        wanted = self.study.tasks[task]
        kind, labels = self.resolver.space(task)
        spec = split.Spec(
            task=task,
            kind=kind,
            labels=labels,
            train=wanted.train,
            select=wanted.select,
            select_metric=self.resolver.select_metric(task),
        )
        return PlannedJob("split", task, spec, (), {"prepared": self._path("prepared", dataset=wanted.train.dataset)})

    def audit(self, task: str) -> PlannedJob:
        spec = self.resolver.audit(task)
        inputs = {"train": self._path("train", task=task), "select": self._path("select", task=task)}
        for item in spec.sets.values():
            inputs[f"set_{item.dataset}"] = self._path("prepared", dataset=item.dataset)
        return PlannedJob("audit", task, spec, (), inputs)

    def shift(self, task: str) -> PlannedJob:
        encoder = self.resolver.encoder
        length = min(self.study.training.max_length, self.catalogue.model(encoder).max_length)
        spec = shift.Spec(task=task, model=encoder, rows=self.study.shift.rows, max_length=length)
        inputs = {name: self._path(name, task=task) for name in ("train", "evaluation", "audit")}
        return PlannedJob("shift", task, spec, (), {**inputs, "base": self._path("base", model=encoder)})

    def base(self, model: str) -> PlannedJob:
        entry = self.catalogue.model(model)
        fields = entry.model_dump(include={"hub", "package", "folder", "path", "built_in", "digest"})
        inputs = {}
        if entry.built_in:
            inputs["corpus"] = self._path("prepared", dataset=entry.built_in.corpus)
        modules = (base.PRETRAINING,) if entry.built_in else ()
        return PlannedJob("base", model, base.Spec(model=model, **fields), modules, inputs)
