"""What jobs ask of a scheduler: from the plan, more for more work, more with each attempt; none of it in a result."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from configured import MODELS, STUDY, changed, configured

from ftbench.config.errors import FtbenchError
from ftbench.plan import Plan
from ftbench.requirements import GPU_STAGES, LOCAL_STAGES, Requirement

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "config" / "studies").glob("*.yaml"))
PROFILE = ROOT / "profiles" / "slurm" / "profile.yaml"
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
    plans = {study.stem: Plan.load(str(study), ROOT) for study in STUDIES}
    gpus = {job.stage for plan in plans.values() for job in plan.jobs() if plan.requirements.of(job).gpu}
    assert gpus == set(GPU_STAGES)
    plan = plans["demo"]
    # this study's base model is pretrained by the graph: a GPU job; one that is fetched needs the network instead
    assert "base" not in plan.requirements.local_stages
    fetched = planned(tmp_path, {"base": REAL})
    assert "base" in fetched.requirements.local_stages
    assert of(fetched, "base", "base").gpu == 0
    assert "fetch" in plan.requirements.local_stages


def test_every_rule_asks_and_none_runs_a_model_where_the_workflow_is_called(tmp_path: Path) -> None:
    rules = "\n".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
    found = dict(re.findall(r"^rule (\w+):\n((?:.*\n)*?)(?=^rule|^from|\Z)", rules, re.M))
    assert {"finetune", "trial", "ensemble", "path", "score"} <= found.keys()
    for name, text in found.items():
        assert f'**PLAN.resources("{name}")' in text, f"rule {name}: a scheduler would not know what to give it"
    # short cells share allocations, by the profile that is shipped
    grouped = dict(item.split("=") for item in yaml.safe_load(PROFILE.read_text())["groups"])
    assert grouped.keys() <= found.keys()
    cells = {"finetune", "trial", "predict", "ensemble", "score", "predict_perturbed", "score_perturbed"}
    assert cells <= grouped.keys()
    assert not set(LOCAL_STAGES) & {*GPU_STAGES, *grouped}


def shared(root: Path, **training: int) -> tuple[Plan, Any]:
    """A study whose runs are shared by several processes, and the wildcards of one of them."""
    study = {**STUDY, "training": {"batch_size": 64, **training}}
    cell = {"task": "reviews", "model": "tiny", "method": "vanilla", "variant": "default", "seed": "0"}
    return planned(root, MODELS, study), SimpleNamespace(items=cell.items)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, {"gpu": 1, "gres": None, "nodes": None, "threads": 1}),
        ({"processes": 4}, {"gpu": 4, "gres": None, "nodes": 1, "threads": 4}),
        ({"processes": 4, "nodes": 2}, {"gpu": None, "gres": "gpu:2", "nodes": 2, "threads": 2}),
    ],
)
def test_a_run_shared_by_processes_asks_for_a_gpu_each_on_one_machine_or_evenly_on_several(
    tmp_path: Path, training: dict[str, int], expected: dict[str, Any]
) -> None:
    plan, cell = shared(tmp_path, **training)
    asked = plan.resources("finetune")
    given = {**{name: asked.get(name) for name in ("gpu", "gres", "nodes")}, "threads": plan.threads("finetune")}
    assert {name: value(cell) if callable(value) else value for name, value in given.items()} == expected
    assert asked["at_once"] == 1
    needed = of(plan, "finetune")
    alone = of(shared(tmp_path / "alone")[0], "finetune")
    count = training.get("processes", 1)
    assert needed.gpu == count
    assert needed.seconds == pytest.approx(alone.seconds / count)
    assert needed.memory_mb == alone.memory_mb * count // training.get("nodes", 1)
    assert needed.gpu_memory_mb <= alone.gpu_memory_mb


def test_the_machines_of_a_run_enter_no_spec_and_must_divide_its_processes(tmp_path: Path) -> None:
    one, _ = shared(tmp_path / "one", processes=4)
    two, _ = shared(tmp_path / "two", processes=4, nodes=2)
    assert [(job.cell, job.spec.canonical()) for job in one.jobs()] == [
        (job.cell, job.spec.canonical()) for job in two.jobs()
    ]
    with pytest.raises(FtbenchError, match="`processes` that `nodes` divides"):
        shared(tmp_path / "three", processes=4, nodes=3)


@pytest.mark.parametrize("study", STUDIES, ids=lambda file: file.stem)
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
