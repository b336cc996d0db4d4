"""The cluster's part of `ftbench doctor`: whether SLURM answers, what it has, and what a GPU job would ask of it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench import profiles
from ftbench.plan import Plan

if TYPE_CHECKING:
    from ftbench.doctor import Finding

SECONDS = 15


def examine_cluster(plan: Plan | None) -> Iterator[Finding]:
    """Findings about SLURM, the profile, partitions and GPUs; one alone where there is no SLURM here."""
    from ftbench.doctor import Finding

    if not shutil.which("sbatch"):
        yield Finding("slurm", "note", "no sbatch on this machine", "on a cluster, run this where jobs are submitted")
        return
    told = run("sinfo", "-h", "-o", "%P|%G|%l|%m|%c|%a")
    if told.returncode:
        yield Finding("slurm", "problem", f"gives no answer: {told.stderr.strip()[:200]}", "ask who runs the cluster")
        return
    partitions = dict(_partition(line) for line in told.stdout.splitlines())
    for name, text in partitions.items():
        yield Finding("slurm", "good", f"partition {name}: {text}")
    yield from _profile(partitions)
    if plan is not None:
        yield from _gpu_job(plan)


def _partition(line: str) -> tuple[str, str]:
    name, gres, limit, memory, cores, state = line.split("|")
    gpus = ", ".join(re.findall(r"gpu[^,(]*", gres)) or "no GPU"
    default = ", the default" if name.endswith("*") else ""
    return name.rstrip("*"), f"{gpus}, {cores} cores, {memory} MB, at most {limit}, {state}{default}"


def _profile(partitions: dict[str, str]) -> Iterator[Finding]:
    import yaml

    from ftbench.doctor import Finding

    place, content = _profile_content()
    if place is None:
        yield Finding("profile", "problem", "`snakemake --profile slurm` would find none", "make setup")
        return
    yield Finding("profile", "good", f"`snakemake --profile slurm` uses {place.resolve()}")
    if map_name := content.get("slurm-partition-config"):
        listed = place / str(map_name)
        if not listed.is_file():
            yield Finding("profile", "problem", f"partition map {listed} is not there", "copy partitions.template.yaml")
            return
        named = (yaml.safe_load(listed.read_text()) or {}).get("partitions", {})
        unknown = sorted(set(named) - set(partitions))
        if unknown:
            advice = f"correct {listed}; there are {', '.join(partitions)}"
            yield Finding("profile", "problem", f"partitions that SLURM does not know: {', '.join(unknown)}", advice)
    if "no GPU" in " ".join(partitions.values()) and all("no GPU" in text for text in partitions.values()):
        advice = "for a cluster without GPUs: set-resources in the profile, `<rule>:gpu=0` for each rule"
        yield Finding("profile", "problem", "no partition has a GPU", advice)


def request(plan: Plan) -> list[str]:
    """The sbatch line of the study's largest training, as the profile's defaults would have it."""
    jobs = [job for job in plan.jobs() if job.stage == "finetune"]
    needs = max((plan.requirements.of(job) for job in jobs), key=lambda one: (one.memory_mb, one.minutes))
    asked = [f"--mem={needs.memory_mb}", f"--time={needs.minutes}", "--cpus-per-task=1", f"--gpus={needs.gpu}"]
    return ["sbatch", *asked, *_defaults()]


def _defaults() -> list[str]:
    """Account and partition that the profile gives to every job."""
    pairs = _default_resources()
    options = {"slurm_account": "--account", "slurm_partition": "--partition"}
    return [f"{option}={pairs[key]}" for key, option in options.items() if key in pairs]


def partitions_of_profile() -> list[str]:
    """Partitions that the profile names: its default one, else those of its map that have a GPU."""
    import yaml

    if name := _default_resources().get("slurm_partition"):
        return [str(name)]
    place, content = _profile_content()
    listed = place / str(content.get("slurm-partition-config")) if place else None
    if listed is None or not listed.is_file():
        return []
    named = (yaml.safe_load(listed.read_text()) or {}).get("partitions", {})
    return [name for name, limits in named.items() if (limits or {}).get("max_gpu")]


def _default_resources() -> dict[str, Any]:
    given: Any = _profile_content()[1].get("default-resources")
    if isinstance(given, dict):
        return given
    return dict(str(item).split("=", 1) for item in given or [] if "=" in str(item))


def _profile_content() -> tuple[Path | None, dict[str, Any]]:
    """The folder of the profile that `--profile slurm` means, and what it says."""
    import yaml

    place = profiles.found()
    file = place and next((place / name for name in profiles.FILES if (place / name).is_file()), None)
    return place, (yaml.safe_load(file.read_text()) or {}) if file else {}


def _gpu_job(plan: Plan) -> Iterator[Finding]:
    """Ask SLURM whether it would take the job, without submitting it."""
    from ftbench.doctor import Finding

    words = request(plan)
    shown = shlex.join(words)
    told = run(words[0], "--test-only", *words[1:], "--wrap", "true")
    answer = (told.stderr or told.stdout).strip().splitlines()
    text = re.sub(r"^sbatch: (error: )?", "", answer[-1]) if answer else ""
    if told.returncode:
        advice = "give account and partition in the profile (default-resources), or a partition map"
        yield Finding("gpu job", "problem", f"{shown} would be refused: {text}", advice)
    else:
        yield Finding("gpu job", "good", f"{shown} would be taken: {text}")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of the scheduler and what it printed; one that is not there or does not answer has failed."""
    try:
        return subprocess.run(  # noqa: S603
            words, capture_output=True, text=True, timeout=SECONDS, check=False,
            env={**os.environ, "SLURM_TIME_FORMAT": "standard"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))
