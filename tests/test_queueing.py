"""What jobs wait in a queue: from accounting, else from what SLURM would do, else unknown with the reason."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from project import CHECKOUT

from ftbench import cluster, queueing
from ftbench.plan import Plan

DAY = "2026-01-01T"
PAST = "".join(f"{DAY}00:00:00|{DAY}00:{minutes:02d}:00|cpu=1,gres/gpu=1\n" for minutes in (1, 2, 4, 30, 59))
NOISE = f"{DAY}00:00:00|Unknown|gres/gpu=1\n{DAY}00:00:00|{DAY}09:00:00|cpu=4\n"  # never started; no GPU


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(cluster.profiles, "found", lambda: tmp_path)
    (tmp_path / "profile.yaml").write_text("executor: slurm\n")
    return Plan.load("demo", CHECKOUT)


def told(plan: Plan, answers: dict[str, str]) -> queueing.Waiting:
    asked = []

    def run(*words: str) -> CompletedProcess[str]:
        asked.append(words)
        text = answers.get(words[0])
        return CompletedProcess(words, text is None, text or "", "" if text else "no account")

    found = queueing.waiting(plan, run, lambda: datetime(2026, 1, 1))
    for words in asked:
        assert words[0] != "sacct" or words[words.index("-r") + 1] in ("gpu", "large")
    return found


def test_the_wait_comes_from_accounting_then_from_slurm_and_else_is_unknown_with_the_reason(
    plan: Plan, tmp_path: Path
) -> None:
    cluster_of_site = {"sinfo": "cpu\ngpu*\n", "sacct": NOISE + PAST}
    found = told(plan, cluster_of_site)
    assert found.seconds == 240
    assert found.basis == "median of 5 GPU jobs of the last 30 days in partition gpu"
    (tmp_path / "partitions.yaml").write_text("partitions: {large: {max_gpu: 4}, cpu: {max_threads: 4}}\n")
    (tmp_path / "profile.yaml").write_text("slurm-partition-config: partitions.yaml\n")
    assert told(plan, cluster_of_site).basis.endswith("in partition large")
    (tmp_path / "profile.yaml").write_text("default-resources: [slurm_partition=gpu]\n")

    few = {"sinfo": "gpu*", "sacct": NOISE}
    start = "sbatch: Job 7 to start at 2026-01-01T01:30:00 using 1 processors on nodes n1 in partition gpu"
    found = told(plan, {**few, "sbatch": start})
    assert found.seconds == 5400
    assert "0 past GPU jobs in partition gpu" in found.basis
    assert told(plan, {"sinfo": "gpu*", "sbatch": start}).basis.endswith("accounting (sacct) gives no answer")
    found = told(plan, few)
    assert found.seconds is None
    assert found.basis.endswith("says no time: no account")
    assert told(plan, {}) == queueing.Waiting(None, "no SLURM answers here")


def test_stages_that_run_here_do_not_wait(plan: Plan) -> None:
    used = {job.stage for job in plan.jobs()}
    assert 0 < queueing.stages_in_queue(plan) <= len(used) - 6
