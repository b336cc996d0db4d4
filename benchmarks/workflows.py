"""Copies of this checkout for timing: with a study of a wanted size, and stripped to a bare workflow.

`graph.py` and `study_vs_scripts.py` run Snakemake in the folders made here, so that nothing is written into
the checkout itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from materials import CHECKOUT

METHODS = ("vanilla", "linear_probe", "dps_dense", "dps_mix")
SEEDS = 19
TASKS = 2
# what a bare rule keeps of ours; without the constraints two rules would be tried for every file of predictions
KEPT = ("input", "output", "wildcard_constraints")

HEAD = """import json

with open("jobs.json") as handle:
    JOBS = json.load(handle)


def inputs(stage):
    jobs = JOBS.get(stage, {})
    return lambda wildcards: jobs["|".join(wildcards[name] for name in sorted(wildcards.keys()))]


"""


def checkout_copy(folder: Path) -> None:
    """What a run of the workflow reads, without results; the package too, so that edits meanwhile do not matter."""
    for name in ("workflow", "config", "profiles", "src"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copy(CHECKOUT / "Snakefile", folder / "Snakefile")


def study_of(size: int, file: Path) -> None:
    """Write a study of about `size` jobs: each artifact has three, and each setting one soup over the seeds."""
    study = yaml.safe_load((CHECKOUT / "config" / "studies" / "demo.yaml").read_text())
    each = 3 * TASKS * len(METHODS) * (SEEDS + 1)
    variants = max(1, round(size / each))
    task = study["tasks"].pop(next(iter(study["tasks"])))
    study["tasks"] = {f"reviews{index}": task for index in range(TASKS)}
    study["seeds"] = list(range(SEEDS if size >= each else max(1, size * SEEDS // each)))
    rates = {f"rate{index}": {"training": {"learning_rate": 1e-5 * (index + 1)}} for index in range(variants)}
    study["methods"] = {method: {"variants": rates} for method in METHODS}
    study["soups"] = {"uniform": {"recipe": "uniform"}}
    file.write_text(yaml.safe_dump(study, sort_keys=False))


def _recorded(folder: Path) -> tuple[Any, dict[str, dict[str, dict[str, str]]]]:
    """The plan of study `graph` in `folder`, and the inputs of each job by stage and wildcards."""
    from ftbench.plan import Plan

    seen: dict[str, dict[str, dict[str, str]]] = {}

    class Recording(Plan):
        """A plan that notes what it is asked for."""

        def job(self, stage: str, **wildcards: str) -> Any:
            found = super().job(stage, **wildcards)
            seen.setdefault(stage, {})["|".join(wildcards[name] for name in sorted(wildcards))] = found.inputs
            return found

    before = Path.cwd()
    os.chdir(folder)
    try:
        plan = Recording.load("graph")
        for _ in plan.jobs():
            pass
    finally:
        os.chdir(before)
    return plan, seen


def bare_copy(ours: Path, bare: Path) -> int:
    """Write the bare workflow of the study in `ours`; returns its number of jobs."""
    from ftbench.paths import COMBINED, WEIGHTED, WILDCARDS

    plan, seen = _recorded(ours)
    bare.mkdir()
    shutil.copytree(ours / "profiles", bare / "profiles")
    (bare / "jobs.json").write_text(json.dumps({**seen, "collected": plan.collected(), "all": plan.targets()}))
    text = [
        HEAD,
        f"WEIGHTED, COMBINED = {WEIGHTED!r}, {COMBINED!r}\n\n\nwildcard_constraints:\n    **{WILDCARDS!r},\n",
        '\n\nlocalrules:\n    all,\n\n\nrule all:\n    input:\n        JOBS["all"],\n',
    ]
    for file in sorted((ours / "workflow" / "rules").glob("*.smk")):
        text.append(_bare_rules(file.read_text(), plan))
    (bare / "Snakefile").write_text("".join(text))
    return sum(len(jobs) for jobs in seen.values()) + 1


def _bare_rules(text: str, plan: Any) -> str:
    """The rules of a file with their inputs and outputs, expressions over the plan replaced by their values."""
    from ftbench import paths
    from ftbench.report.results import TABLES

    def value(found: re.Match[str]) -> str:
        expression = found.group(0)
        if expression == "PLAN.collected":
            return 'JOBS["collected"]'
        if expression.startswith("PLAN.inputs"):
            return expression.removeprefix("PLAN.")
        return repr(eval(expression, {**vars(paths), "TABLES": TABLES, "PLAN": plan}))

    lines: list[str] = []
    keep = False
    for line in text.splitlines():
        if line.startswith("rule "):
            if lines:
                lines += _ENDING
            lines += ["", "", line]
        elif found := re.fullmatch(r"    (\w+):", line):
            keep = found.group(1) in KEPT
            if keep:
                lines.append(line)
        elif line.startswith("        ") and keep:
            lines.append(re.sub(r"PLAN\.\w+(\((?:[^()]|\([^()]*\))*\))?", value, line))
        elif line and not line.startswith(" "):
            keep = False
    return "\n".join([*lines, *_ENDING, ""])


_ENDING = ["    params:", '        job="none",', "    shell:", '        "touch {output}"']


def outputs_of(folder: Path) -> list[str]:
    """Every output of the study `graph` in `folder`, by the patterns of its rules."""
    summary = subprocess.run(
        [sys.executable, "-m", "snakemake", "--config", "study=graph", "--summary"],
        cwd=folder, env=environment(folder), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [line.split("\t")[0] for line in summary.stdout.splitlines()[1:]]


def environment(folder: Path) -> dict[str, str]:
    """The environment of this process with the package of the copy, where the folder has one."""
    return {**os.environ, "PYTHONPATH": str(folder / "src")} if (folder / "src").is_dir() else dict(os.environ)


def timed(command: list[str], folder: Path, expected: str = "") -> dict[str, float]:
    """Wall and processor seconds of a command and of what it started, and its own peak resident bytes.

    A command that fails, or does not say what is expected, ends the benchmark with its output.
    """
    output = folder / "timed.log"
    start = time.perf_counter()
    with output.open("w") as handle:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(folder), stdout=handle, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) or expected not in output.read_text():
        raise SystemExit(f"{' '.join(command)} failed in {folder}:\n{output.read_text()[-3000:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": float(usage.ru_maxrss * 1024)}
