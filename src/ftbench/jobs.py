"""The job of each stage: its spec, the plug-ins that it runs, and its inputs.

The plan hands out these jobs; every rule of the workflow has one method here, named after its stage.
"""

from __future__ import annotations

import json
from typing import Any

from ftbench import matrix, paths
from ftbench.cited import cited_sources
from ftbench.config.study import Training
from ftbench.data_jobs import PlannedJob
from ftbench.detection_jobs import DetectionJobs
from ftbench.metrics.base import DEFAULTS
from ftbench.plugins import plugin
from ftbench.report.results import TABLES
from ftbench.stages import (
    collect,
    compare,
    finetune,
    predict,
    report,
    score,
    tune,
    upstream,
)
from ftbench.stages.finetune import Plug
from ftbench.tuning import trials


class Jobs(DetectionJobs):
    """Builds all jobs of one study."""

    def upstream(self, prior: str, model: str) -> PlannedJob:
        wanted, entry = self.study.prior, self.resolver.prior_entry
        assert wanted is not None
        assert entry is not None
        spec = upstream.Spec(
            prior=prior,
            model=model,
            kind=entry.kind,
            labels=list(entry.labels),
            pool=wanted.pool,
            rows=wanted.rows,
            trained=wanted.trained,
            training=self.resolver.prior_training(),
        )
        inputs = {
            "base": self._path("base", model=model),
            "prepared": self._path("prepared", dataset=wanted.dataset),
        }
        return PlannedJob("upstream", f"{prior}/{model}", spec, (), inputs)

    def pretrain_samples(self, prior: str, model: str) -> PlannedJob:
        spec = self.resolver.pretrain_samples(prior, model)
        inputs = {**self.upstream(prior, model).inputs, **self._start(model)}
        return PlannedJob("pretrain_samples", f"{prior}/{model}", spec, (), inputs)

    def finetune(self, task: str, model: str, method: str, variant: str, seed: str) -> PlannedJob:
        run = matrix.Run(task, model, method, variant, int(seed))
        job = self._training_job(run.artifact, run, *self.resolver.method(task, method, variant))
        if not self.study.tunes(method):
            return job
        assert isinstance(job.spec, finetune.Spec)
        spec = job.spec.model_copy(update={"tuned": self.resolver.tried(method)})
        inputs = {**job.inputs, "tuned": self._path("tuned", task=task, model=model, method=method)}
        return PlannedJob("finetune", job.cell, spec, job.modules, inputs)

    def trial(self, task: str, model: str, method: str, trial: str, seed: str) -> PlannedJob:
        run = matrix.Run(task, model, method, trial, int(seed))
        setting = self.resolver.tried(method)[trial]
        cell = paths.TRIAL.format(task=task, model=model, method=method, trial=trial, seed=seed)
        return self._training_job(cell, run, setting.methods, setting.training)

    def tune(self, task: str, model: str, method: str) -> PlannedJob:
        assert self.study.tuning is not None
        tried, seeds = trials(self.study, method), self.study.tuning.seeds
        spec = tune.Spec(
            study=self.loaded.name,
            task=task,
            model=model,
            method=method,
            trials=list(tried),
            seeds=seeds,
            settings={name: variant.model_dump(mode="json") for name, variant in tried.items()},
        )
        inputs = {
            f"{trial}_{seed}": self._path("trial", task=task, model=model, method=method, trial=trial, seed=seed)
            for trial in tried
            for seed in seeds
        }
        return PlannedJob("tune", matrix.Tuned(task, model, method).cell, spec, (), inputs)

    def _training_job(self, cell: str, run: matrix.Run, plugs: list[Plug], training: Training) -> PlannedJob:
        task, model, method, variant = run.task, run.model, run.method, run.variant
        kind, labels = self.resolver.space(task)
        wanted = self.study.tasks[task].train
        prior = self.resolver.prior_inputs(plugs)
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
            train_rows=training.rows or (wanted.rows if wanted.subset == "per_seed" else None),
            init=self.study.init,
            prior_head=self.study.prior.head if self.study.prior else "separate",
            prior=prior,
        )
        inputs = {
            "train": self._path("train", task=task),
            "select": self._path("select", task=task),
            "base": self._path("base", model=model),
            **self._start(model),
        }
        if prior and self.study.prior:
            inputs["samples"] = self._path("pretrain_samples", prior=prior.name, model=model)
            inputs["prior_rows"] = self._path("prepared", dataset=self.study.prior.dataset)
        used = [("methods", plug.name) for plug in plugs]
        for plug in plugs:
            factory = plugin("methods", plug.name).factory
            used += factory.uses(factory.Config.model_validate(plug.config))
        modules = tuple(plugin(*each).module for each in used)
        return PlannedJob("finetune", cell, spec, (*modules, self._select_module(task)), inputs)

    def predict(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        if isinstance(cell, matrix.EnsembleCell):
            return self.ensemble(artifact)
        kind, labels = self.resolver.space(cell.task)
        prior = self.resolver.prior_entry
        read, readers = self._reading(cell)
        inputs = {
            "evaluation": self._path("evaluation", task=cell.task),
            "audit": self._path("audit", task=cell.task),
            **read,
        }
        spec = predict.Spec(
            artifact=artifact,
            artifact_kind=matrix.kind_of(cell),
            kind=kind,
            labels=labels,
            prior_kind=self.resolver.prior_kind,
            prior_words=self.study.prior.words if self.study.prior else 1.0,
            prior_labels=list(prior.labels) if prior else None,
            prior_head=self.study.prior.head if self.study.prior else "separate",
            prior_max_length=self.resolver.prior_training().max_length if prior else None,
            max_length=self._max_length(cell),
            precision=self._precision(cell),
        )
        return PlannedJob("predict", artifact, spec, readers, inputs)

    def score(self, artifact: str) -> PlannedJob:
        cell = self.artifacts[artifact]
        metrics = self.resolver.metrics(cell.task)
        spec = score.Spec(
            artifact=artifact,
            study=self.loaded.name,
            **matrix.identity(cell),
            metrics=metrics,
        )
        inputs = {
            "predictions": self._path("predictions", artifact=artifact),
            "audit": self._path("audit", task=cell.task),
            "duplicates": self._path("duplicates", task=cell.task),
        }
        scored = {*metrics, *self.resolver.default_metrics(cell.task)}
        if self.resolver.prior_entry:
            scored |= set(DEFAULTS[self.resolver.prior_entry.kind])
        modules = tuple(plugin("metrics", metric).module for metric in sorted(scored))
        return PlannedJob("score", artifact, spec, modules, inputs)

    def _resolved(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.study.canonical())
        return content

    def _tables(self, *names: str) -> dict[str, str]:
        return {name: self._path("tables", table=name) for name in names}

    def collect(self) -> PlannedJob:
        spec = collect.Spec(study=self.loaded.name, resolved=self._resolved())
        return PlannedJob("collect", "study", spec, (), {"results": str(self.paths.root)})

    def compare(self) -> PlannedJob:
        spec = compare.Spec(study=self.loaded.name, resolved=self._resolved())
        inputs = {
            **self._tables("runs", "metrics", "forgetting", "overlap", "similarity", "attacks", "attack_scores"),
            "results": str(self.paths.root),
        }
        # examples are resampled for leading metrics only
        leading = {self.resolver.metrics(task)[0] for task in self.study.tasks}
        leading |= (
            {"accuracy"}
            if any(self.resolver.space(task)[0] == "classification" for task in self.study.tasks)
            else set()
        )
        leading |= {DEFAULTS[self.resolver.prior_entry.kind][0]} if self.resolver.prior_entry else set()
        modules = tuple(plugin("metrics", name).module for name in sorted(leading))
        return PlannedJob("compare", "study", spec, modules, inputs)

    def report(self) -> PlannedJob:
        sources = cited_sources(self.study, self.catalogue)
        spec = report.Spec(study=self.loaded.name, resolved=self._resolved(), sources=sources)
        inputs = {**self._tables(*TABLES), "results": str(self.paths.root)}
        return PlannedJob("report", "study", spec, (), inputs)
