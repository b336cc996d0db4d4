"""Kills with -9 at random moments, of the workflow and of its jobs: the end is that of an undisturbed run.

Three here; `make faults` does a hundred.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from contextlib import suppress

import pandas as pd
import psutil
from project import Project
from test_faults import processes, started, table
from training_job import PATIENCE, wait_for

KILLS = int(os.environ.get("FTBENCH_KILLS", "3"))


def victims(project: Project) -> list[psutil.Process]:
    """Every process that works in the project's folder: the workflow, its shells, its jobs."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(project.folder):
                found.append(process)
    return found


def test_random_kills_change_no_weight_and_no_table(finished: Project, project: Project) -> None:
    # a training long enough to be met, and a change of the source that makes it run again with the same weights
    project.slow_steps(0.05)
    vanilla = project.results / "predictions/runs/reviews/smoke_encoder/vanilla/default"
    for file in ("s0/metrics", "s1/metrics", "s1/predictions"):  # a score and a prediction to be made as well
        (vanilla / f"{file}.parquet").unlink()
    chance = random.Random(KILLS)
    driver: subprocess.Popen[str] | None = None
    killed: dict[str, int] = {}
    deadline = time.monotonic() + PATIENCE + 60 * KILLS
    while sum(killed.values()) < KILLS:
        assert time.monotonic() < deadline, killed
        if driver is None or driver.poll() is not None:
            if driver is not None:
                text, _ = driver.communicate()
                assert "cannot be locked" not in text, text
                wait_for("the end of what the killed workflow had started", lambda: not processes(project), 60)
            driver = started(project, FTBENCH_CHECKPOINT_SECONDS="0.3")
        time.sleep(chance.uniform(0.2, 8.0))
        found = victims(project)
        if not found:
            continue
        victim = chance.choice(found)
        with suppress(psutil.Error):
            kind = "workflow" if victim.pid == driver.pid else "job"
            victim.kill()
            killed[kind] = killed.get(kind, 0) + 1
        if not (project.results / ".work").is_dir():
            continue
        if driver.poll() == 0:  # done: one method is made anew
            chosen = chance.choice(["dps_dense", "linear_probe", "vanilla"])
            for name in (
                "tables",
                f"runs/reviews/smoke_encoder/{chosen}",
                f"predictions/runs/reviews/smoke_encoder/{chosen}",
            ):
                shutil.rmtree(project.results / name)
    assert driver is not None
    driver.communicate(timeout=PATIENCE * 3)
    wait_for("the end of what is left", lambda: not processes(project), 60)

    done = project.snakemake(check=False, FTBENCH_CHECKPOINT_SECONDS="0.3")
    assert done.returncode == 0, f"{killed}\n{done.stdout}\n{done.stderr}"
    same = ["status", "steps", "select_score", "checkpoint_sha256", "init_hash", "examples_seen"]
    mine, theirs = (table(place, "runs").set_index("run_id") for place in (project, finished))
    pd.testing.assert_frame_equal(mine[same], theirs[same], check_exact=True)
    for run in mine.index:
        weights = [place.results / run / "model.safetensors" for place in (project, finished)]
        assert weights[0].read_bytes() == weights[1].read_bytes(), run
    for name in ("metrics", "comparisons", "soup_ingredients", "pretrain_samples", "overlap", "missing"):
        pd.testing.assert_frame_equal(table(project, name), table(finished, name), check_exact=True)
    assert project.stale() == {}
    print(f"kills: {killed}")
