"""Two processes that share a run end with the weights of one process with twice the micro-batches."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from project import Project
from safetensors.torch import load_file
from test_conformance import METHODS, prepared, settings
from training_job import PATIENCE, TrainingJob

from ftbench.plugins import plugins
from ftbench.training.job import Outcome
from ftbench.training.loop import train
from ftbench.training.processes import Processes

STEPS = 6

WORKER = """
import json, sys
from safetensors.torch import save_file
from test_processes import outcome_of
from ftbench.training.processes import Processes
folder, names = sys.argv[1], json.loads(sys.argv[2])
failed = {}
for name in names:
    try:
        outcome = outcome_of(name, Processes.here(), 1)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
        continue
    if outcome.weights and Processes.here().first:
        weights = {key: value.contiguous().clone() for key, value in outcome.weights.items()}
        save_file(weights, f"{folder}/{name}.safetensors")
        json.dump([row["loss"] for row in outcome.log], open(f"{folder}/{name}.json", "w"))
print("failed", json.dumps(failed))
"""


def shares(name: str) -> bool:
    """Whether a method can be run by several processes; those that cannot say so when a study is checked."""
    factory = plugins("methods")[name].factory
    return not factory.check(factory.Config(), settings(processes=2), "classification", [])


SHARING = [name for name in METHODS if shares(name)]


def outcome_of(name: str, processes: Processes, accumulation: int) -> Outcome:
    """A training on rows that do not fill the last batch evenly, without dropout."""
    training = settings(steps=STEPS, accumulation=accumulation, evaluations=2, keep="best")
    job, _ = prepared(name, training, processes=processes)
    job.total_steps = STEPS
    for module in job.context.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return train(job)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes gave for every method: weights, losses, and the reasons of failures."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in (0, 1):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        }  # fmt: skip
        command = [sys.executable, "-c", WORKER, str(folder), json.dumps(SHARING)]
        started.append(
            subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    told = [process.communicate(timeout=900)[0] for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(told)
    (folder / "failed.json").write_text(told[0].rpartition("failed ")[2])
    return folder


@pytest.mark.parametrize("name", SHARING)
def test_two_processes_give_what_one_gives_with_twice_the_micro_batches(name: str, together: Path) -> None:
    failed = json.loads((together / "failed.json").read_text())
    assert name not in failed, failed[name]
    one = outcome_of(name, Processes(), accumulation=2)
    assert one.weights is not None
    found = load_file(str(together / f"{name}.safetensors"))
    assert found.keys() == one.weights.keys()
    losses = json.loads((together / f"{name}.json").read_text())
    assert losses == pytest.approx([row["loss"] for row in one.log], abs=1e-5)
    for key, tensor in one.weights.items():
        assert torch.allclose(found[key].float(), tensor.float(), atol=2e-5), key


def test_a_job_starts_its_own_companions_and_writes_one_result(project: Project, tmp_path: Path) -> None:
    shared = TrainingJob(project, tmp_path / "two", training={"processes": 2, "dropout": 0.0})
    shared.finish()
    alone = TrainingJob(project, tmp_path / "one", training={"accumulation": 2, "dropout": 0.0})
    alone.finish()
    records = [json.loads(job.output("record").read_text()) for job in (shared, alone)]
    assert records[0]["examples_seen"] == records[1]["examples_seen"]
    assert records[0]["tokens_seen"] == records[1]["tokens_seen"]
    found, expected = (load_file(str(job.output("model"))) for job in (shared, alone))
    assert found.keys() == expected.keys()
    # rounding differs by the order of a sum and grows over the steps at this study's large rate
    assert max((found[key] - expected[key]).abs().max() for key in found) < 1e-2
    assert not shared.work.exists() or not shared.checkpoints()


def test_a_companion_that_dies_fails_the_job_with_its_reason(project: Project, tmp_path: Path) -> None:
    job = TrainingJob(project, tmp_path / "broken", training={"processes": 2})
    (project.folder / "src/ftbench/worker.py").write_text("raise SystemExit('no such device')\n")
    process = job.start()
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "no such device" in text
    assert not job.output("record").exists()


def test_a_shared_job_that_is_told_to_stop_goes_on_from_its_checkpoint(project: Project, tmp_path: Path) -> None:
    training = {"processes": 2, "dropout": 0.0}
    undisturbed = TrainingJob(project, tmp_path / "undisturbed", training=training)
    undisturbed.finish()
    stopped = TrainingJob(project, tmp_path / "stopped", training=training)
    process = stopped.start()
    stopped.wait_for_step(5)
    process.terminate()
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75, text
    assert "resumed after step" in stopped.finish()
    found, expected = (load_file(str(job.output("model"))) for job in (stopped, undisturbed))
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


# `srun` as far as it is used: the command once a machine, each with the whole standard input
SRUN = """#!/bin/bash
input=$(cat)
while [[ $1 == --* ]]; do shift; done
for name in one two; do SLURMD_NODENAME=$name "$@" <<< "$input" & started+=($!); done
status=0
for process in "${started[@]}"; do wait "$process" || status=$?; done
exit $status
"""


def test_the_machines_of_an_allocation_share_the_processes_of_a_job(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"processes": 2, "dropout": 0.0}
    here = TrainingJob(project, tmp_path / "here", training=training)
    here.finish()
    tools = tmp_path / "tools"
    tools.mkdir()
    listed = {"squeue": "#!/bin/sh\necho one,two\n", "scontrol": "#!/bin/sh\necho $3 | tr , '\\n'\n"}
    for name, text in {"srun": SRUN, **listed}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURMD_NODENAME", "two")
    spread = TrainingJob(project, tmp_path / "spread", training=training)
    told = spread.finish()
    assert "2 processes on two, one" in told
    found, expected = (load_file(str(job.output("model"))) for job in (spread, here))
    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


def test_processes_end_with_the_stage_that_started_them(project: Project, tmp_path: Path) -> None:
    job = TrainingJob(project, tmp_path / "killed", training={"processes": 2})
    process = job.start()
    job.wait_for_step(3)
    companions = psutil.Process(process.pid).children(recursive=True)
    assert len([one for one in companions if "ftbench.worker" in one.cmdline()]) == 2
    process.kill()
    process.communicate(timeout=PATIENCE)
    _, alive = psutil.wait_procs(companions, timeout=20)
    assert not alive
