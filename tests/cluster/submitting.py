"""The small study's workflow, submitting to the loopback SLURM by the profile that is shipped."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from cluster.loopback import Loopback
from project import CHECKOUT, Project
from training_job import PATIENCE

RULES = re.findall(
    r"^rule (\w+):", "\n".join(file.read_text() for file in (CHECKOUT / "workflow" / "rules").glob("*.smk")), re.M
)
CELL = "runs/reviews/smoke_encoder/{method}/default/s{seed}"
# faster than a site wants it; and what a test cluster of one machine needs
QUICK = [
    "--slurm-init-seconds-before-status-checks", "1", "--slurm-no-account", "--latency-wait", "5",
    "--slurm-keep-successful-logs", "--seconds-between-status-checks", "1",
]  # fmt: skip


@dataclass(frozen=True)
class Submitting(Project):
    """A project whose `snakemake --profile slurm` reaches the cluster."""

    slurm: Loopback

    def environment(self, **extra: str) -> dict[str, str]:
        own = {**self.slurm.environment, "XDG_CONFIG_HOME": str(self.folder / ".config")}
        return super().environment(**own, **extra)

    def words(self, *more: str) -> list[str]:
        return ["snakemake", "--profile", "slurm", *QUICK, "--config", f"study={self.study}", *more]

    def submit(self, *more: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the workflow to its end on the cluster."""
        self.run("python", "-m", "ftbench.profiles")
        return self.run(*self.words(*more), check=check, **extra)

    @contextmanager
    def submitting(self, *more: str, **extra: str) -> Iterator[subprocess.Popen[str]]:
        """The workflow while it runs; its output is in `driver.log`. It is ended with the block."""
        self.run("python", "-m", "ftbench.profiles")
        with (self.folder / "driver.log").open("a") as log:
            driver = subprocess.Popen(
                self.command(*self.words(*more)), cwd=self.folder, env=self.environment(**extra),
                stdout=log, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        try:
            yield driver
        finally:
            driver.kill()
            driver.wait(PATIENCE)

    def cell(self, method: str, seed: int, name: str = "run.json") -> Path:
        """A file of a run; a path that the workflow can be asked for."""
        return self.results / CELL.format(method=method, seed=seed) / name

    def runs(self, *methods: str, seeds: int = 2) -> list[str]:
        """The records of methods' runs, as targets of the workflow."""
        cells = [self.cell(method, seed) for method in methods for seed in range(seeds)]
        return [str(file.relative_to(self.folder)) for file in cells]

    def told(self) -> str:
        return (self.folder / "driver.log").read_text()

    def log(self, method: str, seed: int, stage: str = "finetune") -> str:
        file = self.results / "logs" / stage / f"{CELL.format(method=method, seed=seed)}.log"
        return file.read_text() if file.is_file() else ""

    def record(self, method: str, seed: int) -> dict[str, object]:
        return dict(json.loads(self.cell(method, seed).read_text()))

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.results / "tables" / f"{name}.parquet")

    def steps(self) -> list[int]:
        """Steps of the checkpoints that trainings under way have left."""
        return [int(path.name.rpartition("-")[2]) for path in (self.results / ".work").glob("*/checkpoint-*")]

    def rules(self, job: dict[str, str]) -> set[str]:
        """Rules of a job that accounting knows, by the comment that Snakemake gives it."""
        name = job["Comment"].partition("_wildcards_")[0]
        known = "|".join(sorted(RULES, key=len, reverse=True))
        return set(re.findall(rf"(?<![a-z])(?:{known})(?![a-z])", name.removeprefix("rule_")))
