"""Every path of a study, in one place.

Patterns hold wildcards in braces; the workflow uses them as they are, everything else through `StudyPaths`.
No other module may spell a path under `results/`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ftbench.config.errors import FtbenchError

RUN = "runs/{task}/{model}/{method}/{variant}/s{seed}"
TRIAL = "tuning/{task}/{model}/{method}/{trial}/s{seed}"
SOUP = "soups/{task}/{model}/{soup}"
ENSEMBLE = "ensembles/{task}/{model}/{ensemble}"
PATH = "paths/{task}/{model}/{path}"
BASE = "base/{task}/{model}"
LIKELIHOOD = "likelihood/{task}/{model}"
ATTACKED = "attacks/{attack}/{artifact}/a{attack_seed}/{shard}"

PATTERNS = {
    "fetched": "data/sets/{dataset}/fetched.parquet",
    "fetched_record": "data/sets/{dataset}/fetched.json",
    "prepared": "data/sets/{dataset}/prepared.parquet",
    "card": "data/sets/{dataset}/card.json",
    "train": "data/tasks/{task}/train.parquet",
    "select": "data/tasks/{task}/select.parquet",
    "split_record": "data/tasks/{task}/split.json",
    "evaluation": "data/tasks/{task}/evaluation.parquet",
    "overlap": "data/tasks/{task}/overlap.parquet",
    "duplicates": "data/tasks/{task}/duplicates.parquet",
    "audit": "data/tasks/{task}/audit.json",
    "base": "models/{model}/base.json",
    "upstream_model": "prior/{prior}/{model}/model.safetensors",
    "upstream": "prior/{prior}/{model}/upstream.json",
    "pretrain_samples": "prior/{prior}/{model}/pretrain_samples.parquet",
    "run_model": RUN + "/model.safetensors",
    "run_log": RUN + "/train.parquet",
    "run": RUN + "/run.json",
    "trial_model": TRIAL + "/model.safetensors",
    "trial_log": TRIAL + "/train.parquet",
    "trial": TRIAL + "/run.json",
    "tuned": "tuning/{task}/{model}/{method}/tuned.json",
    "soup_model": SOUP + "/model.safetensors",
    "soup_card": SOUP + "/README.md",
    "recipe": SOUP + "/recipe.json",
    "path_points": PATH + "/paths.parquet",
    "path_barriers": PATH + "/barriers.parquet",
    "path_vectors": PATH + "/task_vectors.parquet",
    "similarity": "data/tasks/{task}/similarity.parquet",
    "perturbed": "data/tasks/{task}/perturbed.parquet",
    "predictions": "predictions/{artifact}/predictions.parquet",
    "perturbed_predictions": "predictions/{artifact}/perturbed.parquet",
    "perturbations": "predictions/{artifact}/perturbations.parquet",
    "metrics": "predictions/{artifact}/metrics.parquet",
    "calibration": "predictions/{artifact}/calibration.parquet",
    "attacks": ATTACKED + "/attacks.parquet",
    "attack": ATTACKED + "/attack.json",
    "transferred": "transfer/{artifact}/predictions.parquet",
    "features": "predictions/{artifact}/features.parquet",
    "adapted_model": LIKELIHOOD + "/model.safetensors",
    "adapted": LIKELIHOOD + "/adapted.json",
    "likelihoods": LIKELIHOOD + "/likelihoods.parquet",
    "detection": "predictions/{artifact}/detection.parquet",
    "tables": "tables/{table}.parquet",
    "report": "report/{page}",
    "log": "logs/{stage}/{cell}.log",
}

# What the wildcards of the patterns may be: names as the configuration has them, and the folders of artifacts.
_NAME = r"[A-Za-z0-9][\w.\-]*"
WILDCARDS = {
    **dict.fromkeys(("dataset", "task", "model", "method", "variant", "soup", "path", "prior", "attack"), _NAME),
    **dict.fromkeys(("seed", "attack_seed", "shard"), r"\d+"),
    "trial": r"t\d+",
    "artifact": r"(runs|soups|ensembles|base|likelihood)/[\w.\-/]+",
}
# artifacts with weights, whose predictions come from a model, and those whose predictions come from others'
WEIGHTED, COMBINED = r"(runs|soups|base)/[\w.\-/]+", r"ensembles/[\w.\-/]+"

# The files that `collect` and `compare` write; `report` writes the pages below.
COLLECTED = (
    "runs", "metrics", "tuning", "soups", "soup_ingredients", "paths", "barriers", "task_vectors", "pretrain_samples",
    "forgetting", "rehearsal_trace", "overlap", "similarity", "perturbations", "attacks", "attack_scores", "transfer",
    "calibration", "detection", "missing",
)  # fmt: skip
COMPARED = (
    "comparisons", "standings", "pareto", "shift", "trends", "robustness", "groups", "attack_comparisons",
)  # fmt: skip
FIGURES = ("id_ood", "forgetting", "damage", "cost", "calibration", "curves", "soups", "perturbations", "trends",
           "attacks", "transfer", "reliability", "detection")  # fmt: skip
PAGES = (
    "index.html", "cells.html", "leaderboard.md", "leaderboard.tex", "paper.md", "paper.tex", "references.bib",
    *(f"{figure}.{kind}" for figure in FIGURES for kind in ("png", "svg")),
)  # fmt: skip

DATA_ROOT_VARIABLE = "FTBENCH_DATA_ROOT"


def data_root() -> Path | None:
    """The folder of local Parquet files, `<dataset>/<split>.parquet`, if the user named one."""
    value = os.environ.get(DATA_ROOT_VARIABLE)
    if value and not Path(value).is_dir():  # passed over in silence, a mistyped name would mean a download
        raise FtbenchError(
            f"key `data_root` (environment variable {DATA_ROOT_VARIABLE}): found `{value}`, which is no folder. "
            "Correct it, or leave it out to read from the hub."
        )
    return Path(value) if value else None


def local_place(name: str) -> Path:
    """The file or folder that a study names: as it stands, or below `data_root` where it is only there."""
    place, root = Path(name), data_root()
    return root / name if root and not place.exists() and (root / name).exists() else place


@dataclass(frozen=True)
class StudyPaths:
    """Paths below `results/<study>`; `root` is relative to the project folder."""

    root: Path

    def pattern(self, name: str) -> str:
        """A path with its wildcards left in braces, for rules."""
        return f"{self.root}/{PATTERNS[name]}"

    def path(self, name: str, **wildcards: object) -> Path:
        """A path with its wildcards filled in."""
        return self.root / PATTERNS[name].format(**wildcards)

    @property
    def snapshots(self) -> Path:
        return self.root / "models"

    def snapshot(self, model: str) -> Path:
        """The folder that holds a base model's files."""
        return self.snapshots / model / "snapshot"

    @property
    def partial(self) -> StudyPaths:
        """Where tables and report go that were built from an incomplete study."""
        return StudyPaths(self.root / "partial")

    @property
    def work(self) -> Path:
        """Resume checkpoints, locks and records of failures: never a result."""
        return self.root / ".work"

    @property
    def sources(self) -> Path:
        """Notes of what the source fingerprints of past runs were made of."""
        return self.work / "sources"

    def read_before(self, table: str) -> Path:
        """What `collect` read of the artifacts' files before, so that it reads again only what changed."""
        return self.work / "collected" / f"{table}.parquet"

    def failure(self, stage: str, cell: str) -> Path:
        """Where a failed job leaves its reason."""
        return self.work / "failures" / f"{stage}--{cell.replace('/', '--')}.json"


def study_paths(study: str) -> StudyPaths:
    return StudyPaths(Path("results") / study)
