"""A copy of the checkout with a study small enough to run whole in a test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]

MODELS = """
smoke_encoder:
  title: Encoder of the tests
  built_in:
    {corpus: smoke_corpus, hidden_size: 32, layers: 2, heads: 2, intermediate_size: 64, steps: 30, batch_size: 32}
"""

DATASETS = """
smoke_corpus:
  title: Corpus of the tests
  task: pretraining
  kind: text
  generated: {part: corpus, settings: {corpus_rows: 600, validation_rows: 50}}
  fields: {text_a: text}
  splits: {train: {}, validation: {}}
smoke_reviews:
  title: Reviews of the tests
  task: sentiment
  generated: {part: reviews, settings: {train_rows: 260, evaluation_rows: 60}}
  fields: {text_a: text}
  label: label
  labels: {negative: negative, positive: positive}
  splits: {train: {}, test: {}, shift_near: {}, shift_middle: {}, shift_far: {}, stress: {}}
smoke_prior:
  title: Prior task of the tests
  task: topic
  generated: {part: prior, settings: {pool_rows: 200, prior_rows: 60}}
  fields: {text_a: text}
  label: label
  labels: {people: people, place: place, money: money}
  splits: {pool: {}, evaluation: {}}
"""

STUDY = """
title: Smoke
seeds: [0, 1]
init: shared
models: [smoke_encoder]
tasks:
  reviews:
    train: {dataset: smoke_reviews}
    select: {rows: 60}
    evaluate:
      in_domain: {dataset: smoke_reviews, split: test, role: id}
      shifted: {dataset: smoke_reviews, split: shift_far, role: ood}
    metrics: [accuracy]
prior: {dataset: smoke_prior, training: {steps: 10}}
# enough for plain fine-tuning to learn the task, so that soups have ingredients; the linear probe collapses
training: {steps: 40, batch_size: 32, learning_rate: 0.01, max_length: 32}
methods:
  vanilla: {}
  dps_dense: {settings: {update_ratio: 0.2}}
  linear_probe: {}
soups:
  uniform: {recipe: uniform, methods: [vanilla]}
  greedy: {recipe: greedy, methods: [vanilla]}
"""

# of dps_dense: its steps take their time while a file says so, for faults that have to come in the middle of a training
STEP = """
    def after_step(self, context: Context) -> None:
"""
SLOW_STEP = f"""{STEP}\
        import time
        from pathlib import Path

        if Path("slow").exists():
            time.sleep(float(Path("slow").read_text()))
"""


@dataclass(frozen=True)
class Project:
    """A checkout of its own; `snakemake` and `ftbench` run in it and import its sources."""

    folder: Path
    study: str = field(default="smoke", kw_only=True)

    def environment(self, **extra: str) -> dict[str, str]:
        own = {"PYTHONPATH": str(self.folder / "src"), "XDG_CACHE_HOME": str(self.folder / ".cache")}
        return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": "", "FTBENCH_DATA_ROOT": "", **extra}

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).parent / words[0]), *words[1:]]

    def run(self, *words: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment here; its output is in the failure message."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(**extra),
            text=True,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def snakemake(self, *words: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess[str]:
        return self.run("snakemake", "--cores", "2", "--config", f"study={self.study}", *words, check=check, **extra)

    def stale(self, *words: str) -> dict[str, set[str]]:
        """Rule to the cells that a dry run would run now; `words` are more arguments of Snakemake."""
        told = self.snakemake("--dry-run", "--printshellcmds", *words)
        text = told.stdout + told.stderr
        found: dict[str, set[str]] = {}
        for rule, cell in re.findall(r"^Shell command: python -m ftbench\.stage (\w+) --cell (\S+)", text, re.M):
            found.setdefault(rule, set()).add(cell)
        counts = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.M)}
        for name in ("all", "total"):
            counts.pop(name, None)
        if "trial" in counts:  # a rule of its own that calls the stage `finetune`
            counts["finetune"] = counts.get("finetune", 0) + counts.pop("trial")
        assert counts == {rule: len(cells) for rule, cells in found.items()}, text
        assert counts or "Nothing to be done" in text, text
        return found

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1))

    def slow_steps(self, seconds: float) -> Path:
        """Make every step of dps_dense take so long, with the same weights; gives the file that keeps it so."""
        self.edit("src/ftbench/methods/dps_dense.py", STEP, SLOW_STEP)
        (self.folder / "slow").write_text(str(seconds))
        return self.folder / "slow"

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.study

    def copy(self, folder: Path) -> Project:
        """The same project with results, times and Snakemake's records in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, study=self.study)


def copied(folder: Path) -> Project:
    """The tracked and new files of the checkout under `folder`, with the small study added."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, text=True, capture_output=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (CHECKOUT / name).is_file() and not name.startswith("tests/"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, target)
    (folder / "config" / "models" / "smoke.yaml").write_text(MODELS)
    (folder / "config" / "datasets" / "smoke.yaml").write_text(DATASETS)
    (folder / "config" / "studies" / "smoke.yaml").write_text(STUDY)
    return Project(folder)
