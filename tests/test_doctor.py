"""`ftbench doctor` names what is wrong with a machine, and what to do; it finds nothing on one that is fine."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from configured import configured
from hub_server import serving
from project import CHECKOUT

from ftbench import cluster, doctor
from ftbench.doctor import Finding
from ftbench.plan import Plan


def levels(found: list[Finding]) -> list[str]:
    return [one.level for one in found]


def test_a_differing_or_missing_package_is_told(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("numpy==0.0.1\nno-such-package==1\n# a comment\n")
    (found,) = doctor._packages(file)
    assert (found.level, "numpy" in found.text, "instead of 0.0.1" in found.text) == ("note", True, True)
    assert levels(list(doctor._packages(CHECKOUT / "constraints.txt"))) == ["good"]
    (absent,) = doctor._packages(tmp_path / "nothing")
    assert "project's folder" in absent.advice


def test_a_processor_without_half_precision_is_told(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: x\nflags\t\t: fpu avx2\n")
    assert levels(list(doctor._processor(file))) == ["good", "note"]
    file.write_text("flags\t\t: fpu avx2 avx512_bf16\n")
    assert levels(list(doctor._processor(file))) == ["good"]


def test_a_disk_that_is_too_small_for_the_study_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = {"tiny": {"title": "t", "hub": {"repository": "a/b", "revision": "a" * 40}, "parameters": 1000}}
    plan = Plan.load("small", configured(tmp_path, models=large))
    # 4 runs, 2 soups, a base model and one after its prior task, each of 4 bytes times 10^9
    for free, level in ((8 * 4e9 * 1.3 + 1e9, "good"), (8 * 4e9 * 1.1, "problem")):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert next(iter(doctor._disk(plan))).level == level


def test_file_locks_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._file_locks(tmp_path / "not" / "yet").level == "good"
    monkeypatch.setattr(doctor.fcntl, "flock", lambda *_: None)  # a file system that ignores them
    found = doctor._file_locks(tmp_path)
    assert (found.level, "ignored" in found.text) == ("problem", True)


def test_the_hub_is_only_a_problem_for_what_has_to_come_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        down = {"HF_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}", "HF_HOME": str(tmp_path)}
    hub = {"tiny": {"title": "t", "hub": {"repository": "a/b", "revision": "a" * 40}}}
    needs = Plan.load("small", configured(tmp_path, models=hub, study=None))
    assert "tiny" in list(doctor.missing_from_hub(needs))
    last = list(doctor._hub(needs, down))[-1]
    assert (last.level, "tiny" in last.advice) == ("problem", True)
    with serving() as server:
        up = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path)}
        assert levels(list(doctor._hub(needs, up))) == ["good", "good"]
        assert server.requests == []  # nothing is asked for: a connection is enough
    offline = list(doctor._hub(needs, {**down, "HF_HUB_OFFLINE": "1"}))
    assert "OFFLINE" in offline[-1].text


def test_a_study_without_downloads_does_not_ask_for_the_network(tmp_path: Path) -> None:
    plan = Plan.load("demo", CHECKOUT)
    assert [one.text for one in doctor._hub(plan, {})] == ["nothing has to be downloaded for this study"]


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """SLURM's commands by their output; what is not in the mapping fails."""
    answers = {"sinfo": "gpu*|gpu:a100:4(S:0)|2-00:00:00|500000|64|up\ncpu|(null)|1-00:00:00|192000|48|up"}
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        text = answers.get(words[0])
        return subprocess.CompletedProcess(words, text is None, text or "", "" if text else "sbatch: error: no account")

    monkeypatch.setattr(cluster, "run", run)
    monkeypatch.setattr(cluster.profiles, "found", lambda: tmp_path)
    (tmp_path / "profile.yaml").write_text("executor: slurm\n")
    return answers


def test_the_request_of_a_gpu_job_is_shown_and_tried(
    scheduler: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan.load("demo", CHECKOUT)
    (tmp_path / "profile.yaml").write_text("default-resources: {slurm_account: mine, slurm_partition: gpu}\n")
    found = list(cluster.examine_cluster(plan))
    assert found[0].text == "partition gpu: gpu:a100:4, 64 cores, 500000 MB, at most 2-00:00:00, up, the default"
    assert (found[-1].level, "no account" in found[-1].text) == ("problem", True)
    assert "--gpus=1" in found[-1].text
    assert "--account=mine --partition=gpu" in found[-1].text
    scheduler["sbatch"] = (
        "sbatch: Job 7 to start at 2026-01-01T00:00:00 using 1 processors on nodes n1 in partition gpu"
    )
    assert list(cluster.examine_cluster(plan))[-1].level == "good"


def test_a_map_of_partitions_that_are_not_there_is_a_problem(scheduler: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text("slurm-partition-config: partitions.yaml\n")
    assert "is not there" in list(cluster.examine_cluster(None))[-1].text
    (tmp_path / "partitions.yaml").write_text("partitions: {gpu: {max_gpu: 4}, fast: {max_gpu: 1}}\n")
    assert "fast" in list(cluster.examine_cluster(None))[-1].text
    (tmp_path / "partitions.yaml").write_text("partitions: {gpu: {max_gpu: 4}}\n")
    assert {one.level for one in cluster.examine_cluster(None)} == {"good"}


def test_a_cluster_without_gpus_a_missing_profile_and_a_dead_scheduler_are_told(
    scheduler: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler["sinfo"] = "cpu*|(null)|1-00:00:00|192000|48|up"
    assert "no partition has a GPU" in list(cluster.examine_cluster(None))[-1].text
    monkeypatch.setattr(cluster.profiles, "found", lambda: None)
    assert list(cluster.examine_cluster(None))[-1].advice == "make setup"
    del scheduler["sinfo"]
    assert [one.level for one in cluster.examine_cluster(None)] == ["problem"]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert [one.level for one in cluster.examine_cluster(None)] == ["note"]


def test_the_command_prints_findings_and_fails_at_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    from ftbench.inspection import doctor as command

    findings = [Finding("python", "good", "3.11"), Finding("disk", "problem", "full", "free some space")]
    monkeypatch.setattr(doctor, "examine", lambda _: iter(findings))
    with pytest.raises(typer.Exit):
        command(None)
    assert capsys.readouterr().out == "ok      python: 3.11\nPROBLEM disk: full\n        -> free some space\n"
    monkeypatch.setattr(doctor, "examine", lambda _: iter(findings[:1]))
    command(None)
