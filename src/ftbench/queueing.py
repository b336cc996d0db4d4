"""How long a study's jobs will wait for machines: from SLURM's accounting, else from what SLURM would do now."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from subprocess import CompletedProcess

from ftbench import cluster
from ftbench.plan import Plan

DAYS = 30  # of past jobs
FEWEST = 5  # past jobs that a median is told from
TIME = "%Y-%m-%dT%H:%M:%S"
Run = Callable[..., "CompletedProcess[str]"]


@dataclass(frozen=True)
class Waiting:
    """Seconds that one job waits, or None where nothing tells; `basis` says where that comes from, or why not."""

    seconds: float | None
    basis: str


def waiting(plan: Plan, run: Run | None = None, now: Callable[[], datetime] = datetime.now) -> Waiting:
    """What a GPU job of the study waits in the partition that the profile means."""
    run = run or cluster.run
    told = run("sinfo", "-h", "-o", "%P")
    if told.returncode:
        return Waiting(None, "no SLURM answers here")
    wanted = _partitions(told.stdout.split())
    where = f"partition{'s' * (len(wanted) > 1)} {', '.join(wanted)}"
    fields = "Eligible,Start,AllocTRES"
    past = run("sacct", "-a", "-X", "-n", "-P", "-S", f"now-{DAYS}days", "-r", ",".join(wanted), "-o", fields)
    waits = list(waits_of(past.stdout)) if past.returncode == 0 else []
    if len(waits) >= FEWEST:
        return Waiting(median(waits), f"median of {len(waits)} GPU jobs of the last {DAYS} days in {where}")
    few = f"{len(waits)} past GPU jobs in {where}" if past.returncode == 0 else "accounting (sacct) gives no answer"
    words = cluster.request(plan)
    asked = run(words[0], "--test-only", *words[1:], "--wrap", "true")
    if found := re.search(r"to start at (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", asked.stderr + asked.stdout):
        seconds = (datetime.strptime(found[1], TIME) - now()).total_seconds()
        return Waiting(
            max(0.0, seconds), f"when SLURM would start the largest training now (sbatch --test-only); {few}"
        )
    answer = (asked.stderr or asked.stdout).strip().splitlines()
    return Waiting(None, f"{few}, and sbatch --test-only says no time: {answer[-1] if answer else 'no answer'}")


def waits_of(text: str) -> Iterator[float]:
    """Seconds between what made a job ready and its start, of each started job with a GPU in sacct's lines."""
    for line in text.splitlines():
        eligible, start, held = line.split("|")[:3]
        if "gres/gpu" not in held:
            continue
        try:
            yield max(0.0, (datetime.strptime(start, TIME) - datetime.strptime(eligible, TIME)).total_seconds())
        except ValueError:  # Unknown, None: it never started
            continue


def stages_in_queue(plan: Plan) -> int:
    """Stages of a study that wait in a queue one after the other, at most."""
    return len({job.stage for job in plan.jobs()} - set(plan.requirements.local_stages))


def _partitions(listed: list[str]) -> list[str]:
    """Names that the profile gives: its default, those of its map with a GPU, else SLURM's default partition."""
    if named := cluster.partitions_of_profile():
        return named
    return [name.rstrip("*") for name in listed if name.endswith("*")] or [name.rstrip("*") for name in listed]
