"""What a cluster does to jobs: each fault on a real SLURM, and the same weights and tables in the end."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
from cluster.loopback import Loopback, until
from cluster.submitting import CELL, Submitting
from project import Project
from training_job import TrainingJob

pytestmark = pytest.mark.skipif("FTBENCH_CLUSTER" not in os.environ, reason="takes many minutes: `make faults` runs it")

METHOD, SETTINGS = "dps_dense", {"update_ratio": 0.2}

# a device whose memory holds a quarter of a batch
NARROW = """

def _narrow() -> None:
    import torch

    from ftbench.training.passes import Passes

    whole = Passes.forward

    def forward(self: Passes, batch: object) -> torch.Tensor:
        if len(batch) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return whole(self, batch)

    Passes.forward = forward


_narrow()
"""


class Training:
    """One training as a SLURM job of its own, by the command line that rules call."""

    def __init__(self, job: TrainingJob, slurm: Loopback) -> None:
        self.job, self.slurm, self.log = job, slurm, job.folder / "job.log"
        self.id = ""

    def submit(self, partition: str) -> None:
        environment = self.job.project.environment(FTBENCH_CHECKPOINT_SECONDS="0", FTBENCH_WARM="off")
        asked = f"sbatch --parsable --requeue -p {partition} --gpus=1 --mem=3000 --open-mode=append -o {self.log}"
        words = [*asked.split(), "-D", str(self.job.project.folder), "--wrap", f"exec {shlex.join(self.job.words())}"]
        done = subprocess.run(
            words, env={**environment, **self.slurm.environment}, capture_output=True, text=True, check=True
        )
        self.id = done.stdout.strip()

    def step(self) -> int:
        return max((int(path.name.rpartition("-")[2]) for path in self.job.checkpoints()), default=0)

    def runs(self) -> bool:
        return self.id in self.slurm.queue("RUNNING")

    def goes_on(self) -> None:
        """Wait until the training is back from its last fault and further than it was."""
        resumed, step = self.text().count("resumed after step"), self.step()
        until(
            "the training to go on",
            lambda: self.text().count("resumed after step") > resumed and self.step() > step,
            180,
        )

    def text(self) -> str:
        return self.log.read_text() if self.log.is_file() else ""

    def kill(self) -> None:
        """End its processes as the end of a machine does: first the one that could still tell the controller."""
        for sign in (f"slurmstepd: [{self.id}.", str(self.job.folder)):
            for process in psutil.process_iter():
                with suppress(psutil.Error):
                    if sign in " ".join(process.cmdline()):
                        process.kill()


def test_a_training_that_is_preempted_loses_its_node_and_is_told_to_stop_ends_with_the_same_weights(
    finished: Project, project: Project, slurm: Loopback, tmp_path: Path
) -> None:
    slow = project.slow_steps(1.0)
    training = Training(TrainingJob(project, tmp_path / "job", METHOD, SETTINGS), slurm)
    training.job.folder.mkdir()
    training.submit("preempt")
    until("the third step", lambda: training.step() >= 3, 120)

    # a job of a higher partition takes both nodes
    urgent = slurm.tell(
        "sbatch", "--parsable", "-p", "urgent", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"
    ).strip()
    until("the urgent job", lambda: urgent not in slurm.queue("PENDING"))
    assert not training.runs()
    training.goes_on()

    # its node is lost
    node = slurm.tell("squeue", "-h", "-j", training.id, "-o", "%N").strip()
    slurm.stop(node)
    training.kill()
    training.goes_on()
    assert slurm.tell("squeue", "-h", "-j", training.id, "-o", "%N").strip() != node
    slurm.start(node)

    # it is told to stop: the checkpoint is there within seconds
    stopped = training.text().count("run again to go on")  # one from the pre-emption
    slurm.run("scancel", "--batch", "--signal=USR1", training.id)
    until("the checkpoint", lambda: training.text().count("run again to go on") > stopped, 20)
    until("the end of the job", lambda: training.id not in slurm.queue())
    slow.unlink()
    training.submit("main")
    until("the result", lambda: training.job.output("record").is_file(), 400)
    assert training.text().count("resumed after step") == 3
    undisturbed = finished.results / CELL.format(method=METHOD, seed=0)
    assert training.job.output("model").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    mine, theirs = (pd.read_parquet(file) for file in (training.job.output("log"), undisturbed / "train.parquet"))
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    until("both nodes", lambda: slurm.nodes().count("idle") == 2)


def test_a_workflow_survives_small_memory_time_limit_scancel_dead_daemons_and_its_own_death(
    finished: Project, fresh: Submitting
) -> None:
    slurm = fresh.slurm
    slow = fresh.slow_steps(3.0)  # longer than the time limit in all
    before = {job["JobID"] for job in slurm.accounted()}
    # far too little memory at first; no process shared between cells, so that each one's memory is counted
    words = ("--retries", "4", "--set-resources", "finetune:mem_mb=300 if attempt == 1 else 2500")
    settings = {"FTBENCH_CHECKPOINT_SECONDS": "0", "FTBENCH_WARM": "off"}

    def states(*wanted: str) -> list[str]:
        mine = [job for job in slurm.accounted() if job["JobID"] not in before and "finetune" in fresh.rules(job)]
        return [job["JobID"] for job in mine if job["State"].split()[0] in wanted]

    def both_at_work() -> bool:
        return len(fresh.steps()) == 2 and min(fresh.steps()) >= 3

    with fresh.submitting(*words, **settings) as driver:
        until("both trainings, with more memory after they had too little", both_at_work, 400)
        too_small = states("FAILED", "OUT_OF_MEMORY")
        assert len(too_small) >= 2
        running = slurm.queue("RUNNING")
        slurm.run("scancel", running[0])
        # before the crash: a controller may forget what it was told last, and then calls the job's end another name
        until("the cancelled job in the accounts", lambda: states("CANCELLED"))
        slurm.stop("slurmctld")
        slurm.stop("slurmdbd")
        until("another step without controller", lambda: max(fresh.steps()) >= 6)
        slurm.start("slurmdbd")
        slurm.start("slurmctld")
        limit = ("scontrol", "update", f"JobId={running[1]}", "TimeLimit=1")
        until("the controller to take a limit", lambda: slurm.succeeds(*limit))
        until("the time limit", lambda: states("TIMEOUT"), 200)
        assert driver.poll() is None, fresh.told()
        until("both trainings again", lambda: len(slurm.queue("RUNNING")) == 2, 200)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert len(slurm.queue("RUNNING")) == 2  # the scheduler's jobs do not end with the workflow
    slow.unlink()

    done = fresh.submit(*words, check=False, **settings)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert "was killed; its lock is gone" in text
    assert "cannot be locked" not in text
    for name in ("metrics", "comparisons", "soup_ingredients", "pretrain_samples", "overlap", "missing"):
        theirs = pd.read_parquet(finished.results / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(fresh.table(name), theirs, check_exact=True)
    same = ["run_id", "status", "steps", "select_score", "checkpoint_sha256", "examples_seen"]
    theirs = pd.read_parquet(finished.results / "tables" / "runs.parquet")
    pd.testing.assert_frame_equal(fresh.table("runs")[same], theirs[same], check_exact=True)
    for seed in (0, 1):
        assert fresh.log(METHOD, seed)
    assert fresh.stale() == {}
    assert not (fresh.results / ".work" / "finished").exists()
    assert list((fresh.results / ".work" / "failures").glob("*")) == []  # no folder where no job ended by itself


def test_a_full_disk_ends_a_cell_with_its_reason_and_the_next_call_makes_it(
    finished: Project, fresh: Submitting
) -> None:
    if not os.path.ismount(fresh.slurm.small_disk):
        pytest.skip("a small file system cannot be mounted here")
    place = fresh.cell(METHOD, 0).parents[2]
    shutil.rmtree(place)
    place.symlink_to(fresh.slurm.small_disk, target_is_directory=True)
    filler = fresh.slurm.small_disk / "filler"
    with suppress(OSError), filler.open("wb") as file:
        for _ in range(64):
            file.write(bytes(64 * 1024))
    target = fresh.runs(METHOD, seeds=1)
    done = fresh.submit("--retries", "0", "--", *target, check=False)
    assert done.returncode
    assert "no space left on the device" in fresh.log(METHOD, 0)
    (failure,) = (fresh.results / ".work" / "failures").glob(f"finetune--*{METHOD}*s0.json")
    assert "no space left on the device" in failure.read_text()
    assert [path.name for path in fresh.slurm.small_disk.rglob("*") if path.is_file()] == ["filler"]
    filler.unlink()
    fresh.submit("--", *target)
    undisturbed = finished.results / CELL.format(method=METHOD, seed=0)
    assert fresh.cell(METHOD, 0, "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()


def test_an_output_folder_that_is_removed_under_a_running_job_is_made_again(
    finished: Project, fresh: Submitting
) -> None:
    slow = fresh.slow_steps(0.5)
    with fresh.submitting("--", *fresh.runs(METHOD, seeds=1), FTBENCH_CHECKPOINT_SECONDS="0") as driver:
        until("the third step", lambda: max(fresh.steps(), default=0) >= 3, 400)
        shutil.rmtree(fresh.cell(METHOD, 0).parents[2])
        slow.unlink()
        assert driver.wait(600) == 0, fresh.told()
    assert "was removed while this job ran; run again" in fresh.told()
    undisturbed = finished.results / CELL.format(method=METHOD, seed=0)
    assert fresh.cell(METHOD, 0, "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()


def test_a_device_without_enough_memory_gets_smaller_micro_batches_and_the_row_of_the_run_says_so(
    finished: Project, fresh: Submitting
) -> None:
    method = fresh.folder / "src/ftbench/methods/dps_dense.py"
    method.write_text(method.read_text() + NARROW)
    fresh.submit()
    assert "memory was too small: every micro-batch in 4 parts" in fresh.log(METHOD, 0)
    mine, theirs = (
        pd.read_parquet(place.results / "tables" / "runs.parquet").set_index("run_id") for place in (fresh, finished)
    )
    cells = [CELL.format(method=METHOD, seed=seed) for seed in (0, 1)]
    assert mine.accumulation[cells].tolist() == [4, 4]
    assert theirs.accumulation[cells].tolist() == [1, 1]
    same = ["status", "steps", "examples_seen"]
    pd.testing.assert_frame_equal(mine.loc[cells, same], theirs.loc[cells, same])
