"""What jobs ask of a scheduler: from the plan, more for more work, more with each attempt; none of it in a result."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from configured import MODELS, STUDY, changed, configured

from ftbench.plan import Plan
from ftbench.requirements import GPU_STAGES, Requirement

ROOT = Path(__file__).parents[1]
REAL = {"title": "real", "hub": {"repository": "a/b", "revision": "a" * 40}}


def planned(root: Path, models: dict[str, Any], study: dict[str, Any] = STUDY) -> Plan:
    return Plan.load("small", configured(root, study={**study, "models": list(models)}, models=models))


def of(plan: Plan, stage: str, model: str = "tiny", method: str = "vanilla") -> Requirement:
    found = [
        job for job in plan.jobs()
        if job.stage == stage and model in job.cell.split("/") and (stage != "finetune" or method in job.cell)
    ]  # fmt: skip
    return plan.requirements.of(found[0])


def test_more_parameters_ask_for_more_memory_and_time(tmp_path: Path) -> None:
    plan = planned(tmp_path, {"small": {**REAL, "parameters": 66}, "large": {**REAL, "parameters": 335}})
    for stage in ("finetune", "predict"):
        small, large = of(plan, stage, "small"), of(plan, stage, "large")
        assert large.memory_mb > small.memory_mb
        assert large.gpu_memory_mb > small.gpu_memory_mb
        assert large.minutes >= small.minutes
        assert large.seconds > 4 * small.seconds
    # weights, gradients and two moments of 335 million numbers in single precision
    assert of(plan, "finetune", "large").gpu_memory_mb > 16 * 335
    assert of(plan, "finetune", "large").disk_mb == pytest.approx(4 * 335)


def test_more_steps_ask_for_more_time_and_a_method_without_backward_pass_for_less(tmp_path: Path) -> None:
    models = {"base": {**REAL, "parameters": 110}}
    study = {**STUDY, "methods": {"vanilla": {}, "linear_probe": {}}, "soups": {}}
    short = planned(tmp_path / "short", models, changed(study, "training.steps", 1000))
    long = planned(tmp_path / "long", models, changed(study, "training.steps", 20000))
    one, other = (of(plan, "finetune", "base") for plan in (short, long))
    # six operations a weight and token; 19,000 steps of 16 rows of 128 tokens more
    assert other.seconds - one.seconds == pytest.approx(6 * 110e6 * 19_000 * 16 * 128 / 1e13)
    assert other.minutes > one.minutes
    assert of(long, "finetune", "base", "linear_probe").seconds < 0.5 * other.seconds


def test_memory_and_time_grow_with_the_attempt_and_the_gpu_does_not(tmp_path: Path) -> None:
    plan = planned(tmp_path, MODELS)
    asked = plan.resources("finetune")
    cell = {"task": "reviews", "model": "tiny", "method": "vanilla", "variant": "default", "seed": "0"}
    wildcards = SimpleNamespace(items=cell.items)
    for name in ("mem_mb", "runtime"):
        first, third = (asked[name](wildcards, attempt=attempt) for attempt in (1, 3))
        assert third == 3 * first > 0
        assert isinstance(first, int)
    assert asked["gpu"](wildcards) == 1


def test_only_stages_that_run_a_model_ask_for_a_gpu_and_short_ones_stay_here(tmp_path: Path) -> None:
    plan = Plan.load("demo", ROOT)
    gpus = {job.stage: plan.requirements.of(job).gpu for job in plan.jobs()}
    assert {stage for stage, gpu in gpus.items() if gpu} == set(GPU_STAGES)
    # this study's base model is pretrained by the graph: a GPU job; one that is fetched needs the network instead
    assert "base" not in plan.requirements.local_stages
    fetched = planned(tmp_path, {"base": REAL})
    assert "base" in fetched.requirements.local_stages
    assert of(fetched, "base", "base").gpu == 0
    assert "fetch" in plan.requirements.local_stages


@pytest.mark.parametrize("study", sorted((ROOT / "config" / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_job_of_every_shipped_study_asks_for_something_a_machine_can_have(study: Path) -> None:
    plan = Plan.load(str(study), ROOT)
    for job in plan.jobs():
        needed = plan.requirements.of(job)
        assert 1_000 <= needed.memory_mb <= 100_000, job.cell
        assert 5 <= needed.minutes <= 2 * 24 * 60, job.cell
        assert needed.gpu_memory_mb <= 80_000, job.cell


def test_requirements_are_in_no_spec(tmp_path: Path) -> None:
    one, other = (
        planned(tmp_path / name, {"base": {**REAL, **more}}) for name, more in (("a", {}), ("b", {"parameters": 900}))
    )
    mine, theirs = ([(job.cell, job.spec.canonical()) for job in plan.jobs()] for plan in (one, other))
    assert mine == theirs
    assert of(one, "finetune", "base").memory_mb < of(other, "finetune", "base").memory_mb
