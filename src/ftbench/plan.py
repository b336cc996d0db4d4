"""The plan of a study: for every job of the graph its spec, its source fingerprint and its inputs.

The workflow asks it for arguments and never computes any itself; the command line prints it. Nothing here
imports torch, so that a dry run starts fast.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ftbench import matrix
from ftbench.check import check_study
from ftbench.config.load import Catalogue, LoadedStudy, load_catalogue, load_study
from ftbench.config.strict import Strict
from ftbench.config.study import Study, Training
from ftbench.fingerprint import fingerprint
from ftbench.paths import COLLECTED, COMPARED, DATA_ROOT_VARIABLE, PAGES, StudyPaths, data_root, study_paths
from ftbench.plugins import plugin
from ftbench.resolve import Resolver
from ftbench.stages import (
    audit,
    base,
    collect,
    compare,
    fetch,
    finetune,
    predict,
    prepare,
    pretrain_samples,
    report,
    score,
    soup,
    split,
    upstream,
)


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
        return fingerprint((f"ftbench.stages.{self.stage}", *self.modules))


class Plan:
    """Everything the graph needs to know about one study."""

    def __init__(self, loaded: LoadedStudy, catalogue: Catalogue) -> None:
        self.loaded, self.catalogue = loaded, catalogue
        self.study: Study = loaded.study
        self.paths: StudyPaths = study_paths(loaded.name)
        self.resolver = Resolver(loaded.study, catalogue)
        self._jobs: dict[tuple[str, tuple[tuple[str, str], ...]], PlannedJob] = {}

    @classmethod
    def load(cls, reference: str, root: Path = Path()) -> Plan:
        """The checked plan of a study; every problem of its files is raised at once."""
        loaded, catalogue = load_study(reference, root), load_catalogue(root)
        check_study(loaded, catalogue)
        return cls(loaded, catalogue)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Plan:
        """The plan that a workflow's configuration (`study`, `data_root`) asks for."""
        if config.get("data_root"):
            os.environ[DATA_ROOT_VARIABLE] = str(config["data_root"])
        return cls.load(str(config.get("study", "demo")))

    # what the rules use

    def pattern(self, name: str) -> str:
        return self.paths.pattern(name)

    def inputs(self, stage: str) -> Callable[[Any], dict[str, str]]:
        """An input function for a rule (to be unpacked)."""
        return lambda wildcards: self.job(stage, **dict(wildcards.items())).inputs

    def arguments(self, stage: str) -> Callable[[Any], str]:
        """A params function for a rule: the command line of the stage up to its outputs."""
        return lambda wildcards: self.command(self.job(stage, **dict(wildcards.items())))

    def command(self, job: PlannedJob) -> str:
        words = ["--cell", job.cell, "--work", str(self.paths.work), "--source", job.source]
        words += ["--spec", job.spec.canonical(), "--inputs", *(f"{name}={path}" for name, path in job.inputs.items())]
        return shlex.join(words)

    def targets(self) -> list[str]:
        """The files that `rule all` asks for."""
        names = [self.paths.path("tables", table=table) for table in (*COLLECTED, *COMPARED)]
        return [str(path) for path in [*names, *(self.paths.path("report", page=page) for page in PAGES)]]

    def tables(self, names: tuple[str, ...]) -> dict[str, str]:
        """Files of tables, by name."""
        return {name: str(self.paths.path("tables", table=name)) for name in names}

    def pages(self) -> dict[str, str]:
        """Files of the report, by a name that a rule can use."""
        return {page.replace(".", "_"): str(self.paths.path("report", page=page)) for page in PAGES}

    def outputs(self, stage: str) -> str:
        """The outputs of a stage of the whole study as words of its command line."""
        files = {
            "collect": self.tables(COLLECTED),
            "compare": self.tables(COMPARED),
            "report": {page: str(self.paths.path("report", page=page)) for page in PAGES},
        }[stage]
        return shlex.join(f"{name}={path}" for name, path in files.items())

    def log(self, stage: str, cell: str) -> str:
        """The log of a stage; `cell` holds the same wildcards as its outputs."""
        return f"{self.paths.root}/logs/{stage}/{cell}.log"

    def snapshot(self, wildcards: Any) -> str:
        """The folder that stage `base` fills."""
        return str(self.paths.snapshot(wildcards.model))

    # jobs

    def job(self, stage: str, **wildcards: str) -> PlannedJob:
        """The job of a stage for the given wildcards."""
        key = (stage, tuple(sorted(wildcards.items())))
        if key not in self._jobs:
            self._jobs[key] = getattr(self, f"_{stage}")(**wildcards)
        return self._jobs[key]

    def jobs(self) -> Iterator[PlannedJob]:
        """Every job of the study, in the order of the stages."""
        datasets = self.resolver.datasets()
        yield from (self.job(stage, dataset=name) for stage in ("fetch", "prepare") for name in datasets)
        yield from (self.job(stage, task=task) for stage in ("split", "audit") for task in self.study.tasks)
        yield from (self.job("base", model=model) for model in self.study.models)
        if self.study.prior:
            prior = self.study.prior.name
            stages = ["upstream"] + (["pretrain_samples"] if self._samples else [])
            yield from (self.job(stage, prior=prior, model=model) for stage in stages for model in self.study.models)
        yield from (
            self.job("finetune", task=run.task, model=run.model, method=run.method, variant=run.variant, seed=str(run.seed))
            for run in matrix.runs(self.study)
        )
        yield from (
            self.job("soup", task=cell.task, model=cell.model, soup=cell.name) for cell in matrix.soups(self.study)
        )
        yield from (self.job(stage, artifact=artifact) for stage in ("predict", "score") for artifact in self.artifacts)
        yield from (self.job(stage) for stage in ("collect", "compare", "report"))

    @cached_property
    def artifacts(self) -> dict[str, matrix.Run | matrix.SoupCell | matrix.Base]:
        """Every artifact by its id."""
        cells = [*matrix.bases(self.study), *matrix.runs(self.study), *matrix.soups(self.study)]
        return {cell.artifact: cell for cell in cells}

    @property
    def _samples(self) -> bool:
        return self.resolver.prior_entry is not None and self.resolver.prior_entry.kind == "classification"

    def _path(self, name: str, **wildcards: object) -> str:
        return str(self.paths.path(name, **wildcards))

    def _fetch(self, dataset: str) -> PlannedJob:
        spec, files = self.resolver.fetch(dataset, data_root())
        modules = (f"ftbench.data.{spec.generated.generator}",) if spec.generated else ()
        return PlannedJob("fetch", dataset, spec, modules, {name: str(file) for name, file in files.items()})

    def _prepare(self, dataset: str) -> PlannedJob:
        inputs = {
            "fetched": self._path("fetched", dataset=dataset),
            "record": self._path("fetched_record", dataset=dataset),
        }
        return PlannedJob("prepare", dataset, self.resolver.prepare(dataset, data_root()), (), inputs)

    def _split(self, task: str) -> PlannedJob:
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

    def _audit(self, task: str) -> PlannedJob:
        spec = self.resolver.audit(task)
        inputs = {"train": self._path("train", task=task), "select": self._path("select", task=task)}
        for item in spec.sets.values():
            inputs[f"set_{item.dataset}"] = self._path("prepared", dataset=item.dataset)
        return PlannedJob("audit", task, spec, (), inputs)

    def _base(self, model: str) -> PlannedJob:
        entry = self.catalogue.model(model)
        fields = entry.model_dump(include={"hub", "package", "folder", "path", "built_in", "digest"})
        inputs = {}
        if entry.built_in:
            inputs["corpus"] = self._path("prepared", dataset=entry.built_in.corpus)
        return PlannedJob("base", model, base.Spec(model=model, **fields), (), inputs)

    def _upstream(self, prior: str, model: str) -> PlannedJob:
        wanted, entry = self.study.prior, self.resolver.prior_entry
        assert wanted is not None and entry is not None
        spec = upstream.Spec(
            prior=prior,
            model=model,
            kind=entry.kind,
            labels=list(entry.labels),
            pool=wanted.pool,
            rows=wanted.rows,
            training=self.resolver.prior_training(),
        )
        inputs = {
            "base": self._path("base", model=model),
            "prepared": self._path("prepared", dataset=wanted.dataset),
        }
        return PlannedJob("upstream", f"{prior}/{model}", spec, (), inputs)

    def _pretrain_samples(self, prior: str, model: str) -> PlannedJob:
        trained = self._upstream(prior, model)
        assert isinstance(trained.spec, upstream.Spec)
        spec = pretrain_samples.Spec(
            **trained.spec.model_dump(include={"prior", "model", "kind", "labels", "pool"}),
            max_length=trained.spec.training.max_length,
        )
        inputs = {**trained.inputs, "start": self._path("upstream_model", prior=prior, model=model)}
        return PlannedJob("pretrain_samples", f"{prior}/{model}", spec, (), inputs)

    def _finetune(self, task: str, model: str, method: str, variant: str, seed: str) -> PlannedJob:
        run = matrix.Run(task, model, method, variant, int(seed))
        plugs, training = self.resolver.method(task, method, variant)
        kind, labels = self.resolver.space(task)
        wanted = self.study.tasks[task].train
        spec = finetune.Spec(
            study=self.loaded.name,
            task=task,
            model=model,
            method=method,
            variant=variant,
            seed=run.seed,
            methods=plugs,
            training=training,
            kind=kind,
            labels=labels,
            select_metric=self.resolver.select_metric(task),
            train_rows=wanted.rows if wanted.subset == "per_seed" else None,
            init=self.study.init,
        )
        inputs = {
            "train": self._path("train", task=task),
            "select": self._path("select", task=task),
            "base": self._path("base", model=model),
            **self._start(model),
        }
        modules = tuple(plugin("methods", plug.name).module for plug in plugs)
        return PlannedJob("finetune", run.artifact, spec, (*modules, self._select_module(task)), inputs)

    def _start(self, model: str) -> dict[str, str]:
        if self.study.prior is None:
            return {}
        return {"start": self._path("upstream_model", prior=self.study.prior.name, model=model)}

    def _select_module(self, task: str) -> str:
        return plugin("metrics", self.resolver.select_metric(task)).module

    def _soup(self, task: str, model: str, soup: str) -> PlannedJob:
        from ftbench.stages.soup import Spec

        cell = self.artifacts[matrix.soup_artifact(task, model, soup)]
        assert isinstance(cell, matrix.SoupCell)
        entry = self.study.soups[cell.family]
        recipe = plugin("soups", entry.recipe)
        kind, labels = self.resolver.space(task)
        spec = Spec(
            study=self.loaded.name,
            task=task,
            model=model,
            method=cell.method,
            variant=cell.variant,
            family=cell.family,
            artifact=cell.artifact,
            recipe=entry.recipe,
            config=recipe.factory.Config.model_validate(entry.settings).model_dump(mode="json"),
            ingredients=[run.artifact for run in cell.ingredients],
            kind=kind,
            labels=labels,
            select_metric=self.resolver.select_metric(task),
            max_length=self._training_of(cell).max_length,
        )
        inputs = {"base": self._path("base", model=model), "select": self._path("select", task=task)}
        for position, run in enumerate(cell.ingredients):
            inputs[f"record{position}"] = self._path("run", **run.__dict__)
            inputs[f"model{position}"] = self._path("run_model", **run.__dict__)
        return PlannedJob("soup", cell.artifact, spec, (recipe.module, self._select_module(task)), inputs)

    def _training_of(self, cell: matrix.Run | matrix.SoupCell | matrix.Base) -> Training:
        if isinstance(cell, matrix.Base):
            return self.resolver.prior_training()
        return self.resolver.method(cell.task, cell.method, cell.variant)[1]

    def _predict(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        kind, labels = self.resolver.space(cell.task)
        prior = self.resolver.prior_entry
        training = self._training_of(cell)
        inputs = {
            "evaluation": self._path("evaluation", task=cell.task),
            "audit": self._path("audit", task=cell.task),
            "base": self._path("base", model=cell.model),
            **self._start(cell.model),
        }
        if isinstance(cell, matrix.Run):
            inputs |= {"record": self._path("run", **cell.__dict__), "model": self._path("run_model", **cell.__dict__)}
        elif isinstance(cell, matrix.SoupCell):
            place = {"task": cell.task, "model": cell.model, "soup": cell.name}
            inputs |= {"record": self._path("recipe", **place), "model": self._path("soup_model", **place)}
        spec = predict.Spec(
            artifact=artifact,
            artifact_kind=_kind_of(cell),
            kind=kind,
            labels=labels,
            prior_kind=prior.kind if prior else None,
            prior_labels=list(prior.labels) if prior else None,
            max_length=training.max_length,
            precision="fp32" if training.precision == "fp16" else training.precision,
        )
        return PlannedJob("predict", artifact, spec, (), inputs)

    def _score(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        metrics = self.resolver.metrics(cell.task)
        spec = score.Spec(
            artifact=artifact,
            study=self.loaded.name,
            task=cell.task,
            model=cell.model,
            artifact_kind=_kind_of(cell),
            method=getattr(cell, "method", None),
            variant=getattr(cell, "variant", None),
            seed=getattr(cell, "seed", None),
            metrics=metrics,
        )
        inputs = {
            "predictions": self._path("predictions", artifact=artifact),
            "audit": self._path("audit", task=cell.task),
        }
        scored = {*metrics, *self.resolver.default_metrics(cell.task)}
        modules = tuple(plugin("metrics", metric).module for metric in sorted(scored))
        return PlannedJob("score", artifact, spec, modules, inputs)

    def _resolved(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.study.canonical())
        return content

    def _collect(self) -> PlannedJob:
        spec = collect.Spec(study=self.loaded.name, resolved=self._resolved())
        return PlannedJob("collect", "study", spec, (), {"results": str(self.paths.root)})

    def _compare(self) -> PlannedJob:
        spec = compare.Spec(study=self.loaded.name, resolved=self._resolved())
        return PlannedJob("compare", "study", spec, (), self.tables(("runs", "metrics")))

    def _report(self) -> PlannedJob:
        spec = report.Spec(study=self.loaded.name, resolved=self._resolved())
        tables = ("runs", "metrics", "comparisons", "soups", "missing")
        return PlannedJob("report", "study", spec, (), self.tables(tables))

    def collected(self, _: Any = None) -> list[str]:
        """What `collect` waits for: the last file of every chain."""
        waited = [self._path("metrics", artifact=artifact) for artifact in self.artifacts]
        waited += [self._path("overlap", task=task) for task in self.study.tasks]
        if self.study.prior and self._samples:
            prior = self.study.prior.name
            waited += [self._path("pretrain_samples", prior=prior, model=model) for model in self.study.models]
        return waited


def _kind_of(cell: matrix.Run | matrix.SoupCell | matrix.Base) -> str:
    return {matrix.Run: "run", matrix.SoupCell: "soup", matrix.Base: "base"}[type(cell)]
