"""The plan of a study: for every job of the graph its spec, its source fingerprint and its inputs.

The workflow asks it for arguments and never computes any itself; the command line prints it. Nothing here
imports torch, so that a dry run starts fast.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ftbench import matrix, sources
from ftbench.check import check_study
from ftbench.config.load import Catalogue, LoadedStudy, load_catalogue, load_study
from ftbench.config.study import Study
from ftbench.data_jobs import PlannedJob
from ftbench.jobs import Jobs
from ftbench.language_cells import language_models
from ftbench.paths import COLLECTED, COMPARED, DATA_ROOT_VARIABLE, PAGES, StudyPaths, study_paths
from ftbench.requirements import Requirements
from ftbench.rule_functions import with_parameters


class Plan:
    """Everything the graph needs to know about one study."""

    def __init__(self, loaded: LoadedStudy, catalogue: Catalogue) -> None:
        self.loaded, self.catalogue = loaded, catalogue
        self.study: Study = loaded.study
        self.paths: StudyPaths = study_paths(loaded.name)
        self.stages = Jobs(loaded, catalogue)
        self.requirements = Requirements(self.stages)
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
        return with_parameters(lambda wildcards: self.job(stage, **dict(wildcards.items())).inputs)

    def arguments(self, stage: str) -> Callable[[Any], str]:
        """A params function for a rule: the command line of the stage up to its outputs."""
        return with_parameters(lambda wildcards: self.command(self.job(stage, **dict(wildcards.items()))))

    def command(self, job: PlannedJob) -> str:
        words = ["--cell", job.cell, "--work", str(self.paths.work), "--source", job.source]
        words += [
            "--spec",
            job.spec.canonical(),
            "--inputs",
            *(f"{name}={path}" for name, path in job.inputs.items()),
        ]
        return shlex.join(words)

    def targets(self, _: Any = None) -> list[str]:
        """The files that `rule all` asks for: tables, pages, and everything that they were made from but weights.

        Snakemake deletes what a failed job had made before and misses it only where it is asked for: without the files
        in between, scores of the run before would pass for those of a run that failed. Weights may be deleted by hand
        once they are predicted with; every job that makes some has a record beside them.
        """
        names = [self.paths.path("tables", table=table) for table in (*COLLECTED, *COMPARED)]
        names += [self.paths.path("report", page=page) for page in PAGES]
        if self.study.prior and not self.stages.resolver.prior_is_text:
            prior = self.study.prior.name
            names += [self.paths.path("upstream", prior=prior, model=model) for model in self.study.models]
        read = {path for job in self.jobs() for path in job.inputs.values()} | {*self.collected()}
        own = f"{self.paths.root}/"  # texts, not paths: there are thousands
        between = (path for path in read if path.endswith((".json", ".parquet")) and path.startswith(own))
        return list(dict.fromkeys([*map(str, names), *sorted(between)]))

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

    def resources(self, stage: str) -> dict[str, Callable[..., int | str | None] | int]:
        """Memory, time and GPUs that the jobs of a stage ask for, growing with the attempt."""
        return self.requirements.resources(stage, lambda wildcards: self.job(stage, **dict(wildcards.items())))

    def threads(self, stage: str) -> Callable[[Any], int] | int:
        """Cores for the jobs of a stage: one for each of its processes on a machine."""
        return self.requirements.threads(lambda wildcards: self.job(stage, **dict(wildcards.items())))

    def log(self, stage: str, cell: str) -> str:
        """The log of a stage; `cell` is the cell's id with wildcards in braces, by which `collect` finds it again."""
        return str(self.paths.path("log", stage=stage, cell=cell))

    def snapshot(self, wildcards: Any) -> str:
        """The folder that stage `base` fills."""
        return str(self.paths.snapshot(wildcards.model))

    # jobs

    def job(self, stage: str, **wildcards: str) -> PlannedJob:
        """The job of a stage for the given wildcards."""
        key = (stage, tuple(sorted(wildcards.items())))
        if key not in self._jobs:
            self._jobs[key] = getattr(self.stages, stage)(**wildcards)
        return self._jobs[key]

    def jobs(self) -> Iterator[PlannedJob]:
        """Every job of the study, in the order of the stages."""
        datasets = self.stages.resolver.datasets()
        yield from (self.job(stage, dataset=name) for stage in ("fetch", "prepare") for name in datasets)
        yield from (self.job(stage, task=task) for stage in ("split", "audit", "shift") for task in self.study.tasks)
        yield from (self.job("base", model=model) for model in self.stages.resolver.models())
        if self.study.prior:
            prior = self.study.prior.name
            stages = ("pretrain_samples",) if self.stages.resolver.prior_is_text else ("upstream", "pretrain_samples")
            yield from (self.job(stage, prior=prior, model=model) for stage in stages for model in self.study.models)
        for tuned in matrix.tunings(self.study):
            place = tuned.__dict__
            tuning = self.study.tuning
            assert tuning is not None
            yield from (
                self.job("trial", **place, trial=trial, seed=str(seed))
                for trial in self.stages.resolver.tried(tuned.method)
                for seed in tuning.seeds
            )
            yield self.job("tune", **place)
        yield from (
            self.job(
                "finetune",
                task=run.task,
                model=run.model,
                method=run.method,
                variant=run.variant,
                seed=str(run.seed),
            )
            for run in matrix.runs(self.study)
        )
        yield from (
            self.job("soup", task=cell.task, model=cell.model, soup=cell.name) for cell in matrix.soups(self.study)
        )
        yield from (
            self.job("path", task=cell.task, model=cell.model, path=cell.name) for cell in matrix.lines(self.study)
        )
        yield from (
            self.job(stage, artifact=artifact) for stage in ("predict", "score") for artifact in self.stages.artifacts
        )
        if self.study.perturbations:
            yield from (self.job("perturb", task=task) for task in self.study.tasks)
            yield from (
                self.job(stage, artifact=cell.artifact)
                for stage in ("predict_perturbed", "score_perturbed")
                for cell in matrix.perturbed(self.study)
            )
        yield from (self.job("attack", **place) for place in self.attack_places())
        yield from (self.job("transfer", artifact=cell.artifact) for cell in matrix.transfer_targets(self.study))
        yield from (self.job("embed", artifact=cell.artifact) for cell in matrix.embedded(self.study))
        for stage in ("adapt", "likelihood"):
            for language in language_models(self.study):
                yield self.job(stage, task=language.task, model=language.model)
        yield from (self.job("detect", artifact=cell.artifact) for cell in matrix.detected(self.study))
        yield from (self.job(stage) for stage in ("collect", "compare", "report"))

    def attack_places(self) -> Iterator[dict[str, str]]:
        """The wildcards of every job of the stage `attack`."""
        for one in matrix.attacks(self.study):
            for shard in range(self.study.attacks[one.attack].shards):
                yield {
                    "attack": one.attack,
                    "artifact": one.target.artifact,
                    "attack_seed": str(one.seed),
                    "shard": str(shard),
                }

    def note_sources(self) -> None:
        """Write down which functions the jobs' fingerprints stand for now."""
        for modules in dict.fromkeys(job.sources for job in self.jobs()):
            sources.note(self.paths.sources, modules)

    def collected(self, _: Any = None) -> list[str]:
        """What `collect` waits for: the last file of every chain."""
        scored = ("metrics", "calibration")
        waited = [
            str(self.paths.path(name, artifact=artifact)) for artifact in self.stages.artifacts for name in scored
        ]
        waited += [
            str(self.paths.path("path_vectors", task=cell.task, model=cell.model, path=cell.name))
            for cell in matrix.lines(self.study)
        ]
        waited += [
            str(self.paths.path(name, task=task)) for name in ("overlap", "similarity") for task in self.study.tasks
        ]
        waited += [
            str(self.paths.path("perturbations", artifact=cell.artifact)) for cell in matrix.perturbed(self.study)
        ]
        waited += [str(self.paths.path("attack", **place)) for place in self.attack_places()]
        targets = matrix.transfer_targets(self.study)
        waited += [str(self.paths.path("transferred", artifact=cell.artifact)) for cell in targets]
        waited += [str(self.paths.path("detection", artifact=cell.artifact)) for cell in matrix.detected(self.study)]
        if self.study.prior:
            prior = self.study.prior.name
            waited += [
                str(self.paths.path("pretrain_samples", prior=prior, model=model)) for model in self.study.models
            ]
        return waited
