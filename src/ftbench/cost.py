"""What a study costs: jobs, hours and disk, from past runs of the same stage where there are any.

`ftbench plan --cost` prints it, `ftbench status` takes its estimate of the rest from here. Nothing here enters a
request to a scheduler: those estimates are generous, these are to be right on average.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from ftbench import made
from ftbench.data_jobs import PlannedJob
from ftbench.plan import Plan

STARTING = {True: 30.0, False: 10.0}  # seconds of a job before its work, with a model and without
Key = tuple[str, ...]


class Past:
    """Times of past jobs: of this study first, else of other studies in the same folder of results."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def seconds(self, job: PlannedJob) -> float:
        """Expected time of a job."""
        return self.estimate(job)[0]

    def estimate(self, job: PlannedJob) -> tuple[float, str]:
        """Expected time of a job in seconds, and what the figure rests on."""
        spec = job.spec.model_dump()
        for key in (_exact(job.stage, spec), _similar(job.stage, spec)):
            if times := self._own.get(key):
                return fmean(times), f"{len(times)} past job(s) of this study"
        if times := self._others.get(_similar(job.stage, spec)):
            return fmean(times), f"{len(times)} past job(s) of other studies"
        needed = self.plan.requirements.of(job)
        return needed.seconds + STARTING[bool(needed.gpu)], "computed from rows and parameters"

    @cached_property
    def _own(self) -> dict[Key, list[float]]:
        return _by_key(self.plan.paths.work)

    @cached_property
    def _others(self) -> dict[Key, list[float]]:
        found: dict[Key, list[float]] = defaultdict(list)
        for work in Path(self.plan.paths.root).parent.glob("*/.work"):
            if work != self.plan.paths.work:
                for key, times in _by_key(work).items():
                    found[key] += times
        return found


def _by_key(work: Path) -> dict[Key, list[float]]:
    found: dict[Key, list[float]] = defaultdict(list)
    for past in made.read_all(work):
        for key in (_exact(past.stage, past.spec), _similar(past.stage, past.spec)):
            found[key].append(past.seconds)
    return found


def _exact(stage: str, spec: dict[str, Any]) -> Key:
    """Jobs that do the same work on other seeds."""
    return (stage, *(str(spec.get(name, "")) for name in ("task", "model", "method", "variant", "dataset", "recipe")))


def _similar(stage: str, spec: dict[str, Any]) -> Key:
    """Jobs that do work of the same size: the model, and how long it is trained."""
    training = spec.get("training") or {}
    size = [str(training.get(name, "")) for name in ("steps", "epochs", "batch_size", "max_length")]
    return (f"~{stage}", str(spec.get("model", "")), *size)


@dataclass(frozen=True)
class StageCost:
    """All jobs of one stage. `seconds` are of one job after the other, `gpu_seconds` of all GPUs together."""

    stage: str
    jobs: int
    seconds: float
    gpu_seconds: float
    disk_mb: float
    basis: str


def costs(plan: Plan) -> Iterator[StageCost]:
    """What each stage of the study takes if nothing of it is there yet, in the order of the stages."""
    past = Past(plan)
    stages: dict[str, list[PlannedJob]] = defaultdict(list)
    for job in plan.jobs():
        stages[job.stage].append(job)
    for stage, jobs in stages.items():
        estimates = [past.estimate(job) for job in jobs]
        needs = [plan.requirements.of(job) for job in jobs]
        seconds = [estimate[0] for estimate in estimates]
        on_gpu = sum(time * needed.gpu for time, needed in zip(seconds, needs, strict=True))
        bases = list(dict.fromkeys(estimate[1] for estimate in estimates))
        yield StageCost(stage, len(jobs), sum(seconds), on_gpu, sum(one.disk_mb for one in needs), bases[0])


def span(plan: Plan, workers: int) -> float:
    """Seconds from start to end with `workers` jobs at a time: no less than the longest chain of stages."""
    past = Past(plan)
    longest: dict[str, float] = defaultdict(float)
    total = 0.0
    for job in plan.jobs():
        seconds = past.seconds(job)
        longest[job.stage] = max(longest[job.stage], seconds)
        total += seconds
    return max(total / max(1, workers), sum(longest.values()))
