"""The same cells as a study of this package and as a shell loop over a plain Trainer script.

Both start from nothing and end with scores on every set: (a) `snakemake` on a study in a copy of the
checkout, tables and report included; (b) one process a cell that trains and evaluates with all cores.
Only the ratio of the two wall times means anything.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml
from materials import ENCODER, data_folder, encoder, finish, table
from workflows import checkout_copy, timed

NAME = "study_vs_scripts"
SETS = {
    "in_domain": ("snli", "id"),
    "sick": ("sick", "ood"),
    "counterfactual": ("snli_counterfactual", "stress"),
}
RATES = (2e-5, 5e-5, 1e-4)
SELECT_ROWS = 100  # of the set that a choice would be made on; both score it


def study(options: argparse.Namespace) -> dict[str, Any]:
    """Plain fine-tuning with several seeds and learning rates, judged on three sets, as a study file."""
    return {
        "title": "Speed of a study",
        "seeds": list(range(options.seeds)),
        "models": [ENCODER],
        "tasks": {
            "nli": {
                "train": {"dataset": "snli", "rows": options.rows},
                "select": {"rows": SELECT_ROWS},
                "evaluate": {
                    name: {"dataset": dataset, "role": role, "rows": options.evaluation_rows}
                    for name, (dataset, role) in SETS.items()
                },
                "metrics": ["accuracy"],
            }
        },
        "training": {"epochs": 1, "batch_size": 16, "max_length": 128, "evaluations": 0},
        "methods": {
            "vanilla": {
                "variants": {
                    f"rate{index}": {"training": {"learning_rate": rate}}
                    for index, rate in enumerate(RATES[: options.rates])
                }
            }
        },
    }


def run_study(folder: Path, data: Path, options: argparse.Namespace) -> dict[str, float]:
    """Wall seconds of the study, from an empty results folder to its report."""
    checkout_copy(folder)
    (folder / "config" / "studies" / "speed.yaml").write_text(yaml.safe_dump(study(options), sort_keys=False))
    command = [sys.executable, "-m", "snakemake", "--config", "study=speed", f"data_root={data}"]
    spent = timed([*command, "--cores", str(options.cores)], folder)
    print(f"the study took {spent['wall']:.0f} s", flush=True)
    return spent


def run_scripts(folder: Path, snapshot: Path, data: Path, options: argparse.Namespace) -> dict[str, float]:
    """Wall seconds of the shell loop."""
    folder.mkdir()
    line = [sys.executable, str(Path(__file__).with_name("trainer_cell.py")), "--model", str(snapshot)]
    line += ["--train", str(data / "snli" / "train.parquet"), "--rows", str(options.rows)]
    line += ["--evaluate", *(str(data / dataset / "test.parquet") for dataset, _ in SETS.values())]
    line += ["--evaluation-rows", str(options.evaluation_rows)]
    line += ["--select", str(data / "snli" / "validation.parquet"), "--select-rows", str(SELECT_ROWS)]
    loop = (
        "set -e\n"
        f"for seed in {' '.join(map(str, range(options.seeds)))}; do\n"
        f"  for rate in {' '.join(map(str, RATES[: options.rates]))}; do\n"
        f"    {shlex.join(line)} --seed $seed --rate $rate --output rate$rate-s$seed\n"
        "  done\n"
        "done\n"
    )
    (folder / "loop.sh").write_text(loop)
    spent = timed(["bash", "loop.sh"], folder)
    print(f"the scripts took {spent['wall']:.0f} s", flush=True)
    return spent


def stages(folder: Path) -> dict[str, dict[str, float]]:
    """Jobs and seconds of each stage of a finished study, from Snakemake's own records."""
    jobs: dict[tuple[str, str], float] = {}
    for file in (folder / ".snakemake" / "metadata").rglob("*"):
        if file.is_file():
            record = json.loads(file.read_text())
            if record.get("endtime"):
                jobs[record["rule"], record["log"][0]] = record["endtime"] - record["starttime"]
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"jobs": 0, "seconds": 0.0, "computing": 0.0})
    for (rule, _), seconds in jobs.items():
        found[rule]["jobs"] += 1
        found[rule]["seconds"] += seconds
    for record_file in (folder / "results" / "speed" / "runs").rglob("run.json"):
        found["finetune"]["computing"] += json.loads(record_file.read_text())["train_seconds"]
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder of local Parquet files (or FTBENCH_DATA_ROOT)")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rates", type=int, default=3, choices=[1, 2, 3], help="learning rates, a variant each")
    parser.add_argument("--rows", type=int, default=1000, help="training rows of every cell")
    parser.add_argument("--evaluation-rows", type=int, default=500, help="rows of each evaluation set")
    parser.add_argument("--cores", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--order", choices=["study-first", "scripts-first"], default="study-first")
    options = parser.parse_args()
    snapshot = encoder(NAME)
    data = data_folder(NAME, options.data_root, ["snli", "sick", "snli_counterfactual"])
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    with tempfile.TemporaryDirectory(prefix="ftbench-study-") as temporary:
        folder = Path(temporary)
        if options.order == "scripts-first":
            scripts = run_scripts(folder / "scripts", snapshot, data, options)
        ours = run_study(folder / "study", data, options)
        if options.order == "study-first":
            scripts = run_scripts(folder / "scripts", snapshot, data, options)
        spent = stages(folder / "study")
    cells = options.seeds * options.rates
    print(table((f"{cells} cells as", "wall s"), [("study", ours["wall"]), ("shell loop of scripts", scripts["wall"])]))
    print()
    lines = [(name, int(line["jobs"]), line["seconds"], line["seconds"] / line["jobs"]) for name, line in spent.items()]
    print(table(("stage", "jobs", "seconds of all", "of one"), sorted(lines, key=lambda row: -row[2])))
    inside = spent.get("finetune", {"computing": 0.0, "seconds": 0.0})
    steps, rest = inside["computing"], inside["seconds"] - inside["computing"]
    print(f"of finetune, {steps:.0f} s were training steps and {rest:.0f} s the rest")
    ratio = ours["wall"] / scripts["wall"]
    print(f"study / scripts: {ratio:.2f} (aim 0.67 or less)")
    seconds = {"study_seconds": ours["wall"], "scripts_seconds": scripts["wall"]}
    finish(NAME, {"cells": cells, "ratio": ratio, **seconds, "stages": spent})


if __name__ == "__main__":
    main()
