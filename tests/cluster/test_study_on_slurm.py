"""The small study on a real SLURM: through sbatch, with GPUs where models run, and the tables of a local run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from cluster.loopback import Loopback
from cluster.submitting import Submitting
from project import Project, copied
from safetensors.torch import load_file

from ftbench.plan import Plan
from ftbench.requirements import GPU_STAGES, LOCAL_STAGES

# times, memory and what the job's place says differ between a local run and one of a scheduler
MEASURED = ["train_seconds", "total_seconds", "examples_per_second", "peak_memory_bytes", "started_at", "ended_at"]


@pytest.fixture(scope="module")
def submitted(finished: Project, slurm: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Submitting:
    """The small study run from nothing on the cluster, three cells in an allocation."""
    copy = finished.copy(tmp_path_factory.mktemp("submitted") / "project")
    shutil.rmtree(copy.results)
    shutil.rmtree(copy.folder / ".snakemake")
    project = Submitting(copy.folder, slurm)
    project.submit("--group-components", "cells_per_job=3", "evaluation=9")
    return project


@pytest.fixture(scope="module")
def jobs(submitted: Submitting) -> list[dict[str, str]]:
    """What accounting knows of that run."""
    return submitted.slurm.accounted()


@pytest.fixture(scope="module")
def more(submitted: Submitting, jobs: list[dict[str, str]]) -> Submitting:
    """The finished study with cells to come: short ones, and runs that two processes share on two machines."""
    methods = """
  beside: {use: [vanilla], training: {steps: 100}}
  arrayed: {use: [vanilla], training: {steps: 3}}
  shared: {use: [vanilla], training: {steps: 5, dropout: 0.0, processes: 2, nodes: 2}}
  parted: {use: [vanilla], training: {steps: 5, dropout: 0.0, accumulation: 2}}
  linear_probe: {}"""
    submitted.edit("config/studies/smoke.yaml", "\n  linear_probe: {}", methods)
    return submitted


@contextmanager
def profile_of(project: Project) -> Iterator[Path]:
    """The project's profile for clusters, to edit as a site would; as it was afterwards."""
    profile = project.folder / "profiles/slurm/profile.yaml"
    text = profile.read_text()
    try:
        yield profile
    finally:
        profile.write_text(text)


def since(project: Submitting, jobs: list[dict[str, str]]) -> list[dict[str, str]]:
    """Jobs that accounting knows beyond the given ones, all of which ended well."""
    before = {job["JobID"] for job in jobs}
    found = [job for job in project.slurm.accounted() if job["JobID"] not in before]
    assert {job["State"] for job in found} == {"COMPLETED"}
    return found


def assert_gpus_where_models_run(submitted: Submitting, jobs: list[dict[str, str]]) -> None:
    """Every job ended well, none is of a stage that belongs here, and all stages that run a model had a GPU."""
    assert {job["State"] for job in jobs} == {"COMPLETED"}
    with_gpu: set[str] = set()
    for job in jobs:
        rules = submitted.rules(job)
        assert rules
        assert not rules & set(LOCAL_STAGES), job
        if rules & set(GPU_STAGES):
            # one GPU for an allocation, however many cells it holds
            assert "gres/gpu=1" in job["AllocTRES"].split(","), job
            with_gpu |= rules
        else:
            assert "gpu" not in job["AllocTRES"], job
    used = {job.stage for job in Plan.load(submitted.study, submitted.folder).jobs()}
    assert set(GPU_STAGES) & used <= with_gpu


def test_every_stage_that_runs_a_model_had_a_gpu_and_nothing_failed(
    submitted: Submitting, jobs: list[dict[str, str]]
) -> None:
    assert_gpus_where_models_run(submitted, jobs)


def test_short_cells_share_allocations(submitted: Submitting, jobs: list[dict[str, str]]) -> None:
    held = [job for job in jobs if "finetune" in submitted.rules(job)]
    assert len(held) == 2  # six cells, three in each
    for job in held:
        assert "cpu=1" in job["AllocTRES"].split(","), job  # one after another: cores are not added up


def test_memory_and_time_come_from_the_plan(submitted: Submitting, jobs: list[dict[str, str]]) -> None:
    plan = Plan.load("smoke", submitted.folder)
    asked = plan.requirements.of(next(job for job in plan.jobs() if job.stage == "upstream"))
    job = next(job for job in jobs if submitted.rules(job) == {"upstream"})
    assert job["ReqMem"].rstrip("nc") == f"{asked.memory_mb}M"
    assert job["Timelimit"] == f"00:{asked.minutes:02d}:00"


def assert_same_tables(submitted: Project, finished: Project) -> None:
    for name in ("metrics", "comparisons", "soup_ingredients", "pretrain_samples", "overlap", "missing"):
        mine, theirs = (
            pd.read_parquet(place.results / "tables" / f"{name}.parquet") for place in (submitted, finished)
        )
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    mine, theirs = (pd.read_parquet(place.results / "tables" / "runs.parquet") for place in (submitted, finished))
    pd.testing.assert_frame_equal(mine.drop(columns=MEASURED), theirs.drop(columns=MEASURED), check_exact=True)


def test_the_tables_are_those_of_a_local_run(finished: Project, submitted: Submitting) -> None:
    assert_same_tables(submitted, finished)


def test_nothing_is_left_to_do_and_nothing_kept_for_later(submitted: Submitting) -> None:
    assert submitted.stale() == {}
    kept = {"locks", "made", "sources", "collected"}
    assert {path.name for path in (submitted.results / ".work").iterdir()} == kept


def test_cells_run_side_by_side_on_one_gpu_that_is_shared(more: Submitting) -> None:
    before = more.slurm.accounted()
    line = '# set-resources: ["finetune:gpu=0", "finetune:gres=shard:1"]'
    with profile_of(more) as profile:
        text = profile.read_text()
        assert line in text
        profile.write_text(text.replace(line, line.removeprefix("# ")))
        more.submit("--", *more.runs("beside"))
    one, other = since(more, before)
    for job in (one, other):
        held = job["AllocTRES"].split(",")
        assert "gres/shard=1" in held, job
        assert not any(part.startswith("gres/gpu") for part in held), job
    assert one["NodeList"] == other["NodeList"]
    assert max(one["Start"], other["Start"]) < min(one["End"], other["End"])


def test_cells_can_be_elements_of_a_job_array(more: Submitting) -> None:
    before = more.slurm.accounted()
    with profile_of(more) as profile:
        text = re.sub(r"^(?:groups|group-components): \[[^]]*\]\n", "", profile.read_text(), flags=re.M)
        profile.write_text(text.replace("# slurm-array-", "slurm-array-"))
        more.submit("--", *more.runs("arrayed"))
    found = since(more, before)
    assert len(found) == 2
    assert {job["JobID"].partition("_")[2] for job in found} == {"1", "2"}
    assert all("gres/gpu=1" in job["AllocTRES"].split(",") for job in found)


def test_a_run_is_shared_by_processes_on_two_machines(more: Submitting) -> None:
    before = more.slurm.accounted()
    more.submit("--", *more.runs("shared", "parted", seeds=1))
    held = [set(job["AllocTRES"].split(",")) for job in since(more, before)]
    assert any({"node=2", "gres/gpu=2"} <= one for one in held), held
    assert any({"node=1", "gres/gpu=1"} <= one for one in held), held
    log = more.log("shared", 0)
    assert "2 processes on node" in log, log
    # one process with twice the micro-batches learns the same, up to the order of a sum
    found, expected = (load_file(str(more.cell(name, 0, "model.safetensors"))) for name in ("shared", "parted"))
    assert max((found[key] - expected[key]).abs().max() for key in expected) < 1e-3


@pytest.mark.skipif("FTBENCH_CLUSTER" not in os.environ, reason="takes many minutes: `make faults` runs it")
def test_the_whole_default_study_runs_on_the_cluster(slurm: Loopback, tmp_path_factory: pytest.TempPathFactory) -> None:
    here = Project(copied(tmp_path_factory.mktemp("demo") / "ftbench").folder, study="demo")
    there = Submitting(here.copy(here.folder.with_name("submitted")).folder, slurm, study="demo")
    before = {job["JobID"] for job in slurm.accounted()}
    there.submit("--group-components", "cells_per_job=10", "evaluation=30")
    assert_gpus_where_models_run(there, [job for job in slurm.accounted() if job["JobID"] not in before])
    here.snakemake()
    assert_same_tables(there, here)
