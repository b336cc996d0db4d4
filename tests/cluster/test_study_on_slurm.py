"""The small study on a real SLURM: through sbatch, with GPUs where models run, and the tables of a local run."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from cluster.loopback import Loopback
from cluster.submitting import Submitting
from project import Project

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


def test_every_stage_that_runs_a_model_had_a_gpu_and_nothing_failed(submitted: Submitting) -> None:
    jobs = submitted.slurm.accounted()
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
    assert set(GPU_STAGES) <= with_gpu


def test_short_cells_share_allocations(submitted: Submitting) -> None:
    held = [job for job in submitted.slurm.accounted() if "finetune" in submitted.rules(job)]
    assert len(held) == 2  # six cells, three in each
    for job in held:
        assert "cpu=1" in job["AllocTRES"].split(","), job  # one after another: cores are not added up


def test_memory_and_time_come_from_the_plan(submitted: Submitting) -> None:
    from ftbench.plan import Plan

    plan = Plan.load("smoke", submitted.folder)
    asked = plan.requirements.of(next(job for job in plan.jobs() if job.stage == "upstream"))
    job = next(job for job in submitted.slurm.accounted() if submitted.rules(job) == {"upstream"})
    assert job["ReqMem"].rstrip("nc") == f"{asked.memory_mb}M"
    assert job["Timelimit"] == f"00:{asked.minutes:02d}:00"


def test_the_tables_are_those_of_a_local_run(finished: Project, submitted: Submitting) -> None:
    for name in ("metrics", "comparisons", "soup_ingredients", "pretrain_samples", "overlap", "missing"):
        mine, theirs = (
            pd.read_parquet(place.results / "tables" / f"{name}.parquet") for place in (submitted, finished)
        )
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    mine, theirs = (pd.read_parquet(place.results / "tables" / "runs.parquet") for place in (submitted, finished))
    pd.testing.assert_frame_equal(mine.drop(columns=MEASURED), theirs.drop(columns=MEASURED), check_exact=True)


def test_nothing_is_left_to_do_and_nothing_kept_for_later(submitted: Submitting) -> None:
    assert submitted.stale() == {}
    kept = {"locks", "made", "sources", "collected"}
    assert {path.name for path in (submitted.results / ".work").iterdir()} == kept
