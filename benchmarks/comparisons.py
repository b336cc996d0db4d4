"""How long the comparisons of a large study take, and how much memory: the stage `compare` on made-up predictions.

Writes predictions and the tables `runs` and `metrics` of a study with many artifacts and sets (not timed), runs the
stage in a process of its own and reads its time and peak memory. Flat memory is judged by a second run with four
times the resamples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from materials import finish, table

NAME = "comparisons"
LABELS = ["no", "yes"]
_CHILD = """
import json, resource, sys, time
from pathlib import Path
from ftbench.stages.compare import Spec, run
spec, root = json.loads(sys.argv[1]), Path(sys.argv[2])
READ, WRITTEN = ("runs", "metrics", "forgetting"), ("comparisons", "standings", "pareto")
tables = {name: root / "tables" / f"{name}.parquet" for name in (*READ, *WRITTEN)}
inputs = {name: tables[name] for name in READ} | {"results": root}
before, start = time.perf_counter(), time.process_time()
run(Spec(**spec), inputs, {name: tables[name] for name in WRITTEN})
seconds, cpu = time.perf_counter() - before, time.process_time() - start
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def study_of(methods: int, sets: int, seeds: int, resamples: int) -> Any:
    from ftbench.config.study import Study

    evaluate = {f"set{number}": {"dataset": "d", "role": "ood" if number else "id"} for number in range(sets)}
    return Study.model_validate(
        {
            "seeds": list(range(seeds)),
            "models": ["tiny"],
            "tasks": {"task": {"train": {"dataset": "d"}, "evaluate": evaluate, "metrics": ["accuracy"]}},
            "methods": {f"m{number:03}": None for number in range(methods)},
            "baseline": "m000",
            "statistics": {"resamples": resamples},
        }
    )


def make(root: Path, study: Any, rows: int) -> None:
    """Files of predictions and the two tables; every method is a little better than the one before."""
    import numpy as np
    import pyarrow as pa

    from ftbench import matrix
    from ftbench.paths import StudyPaths
    from ftbench.tables.store import write_table

    places, generator = StudyPaths(root), np.random.default_rng(0)
    sets = list(study.tasks["task"].evaluate)
    about = {name: {"role": "id", "kind": "classification", "labels": LABELS, "map": None} for name in sets}
    audit = places.path("audit", task="task")
    audit.parent.mkdir(parents=True)
    audit.write_text(json.dumps({"labels": LABELS, "sets": about}))
    names = np.array(LABELS)
    gold = generator.integers(0, 2, rows * len(sets))
    columns = {
        "eval_set": pa.array(np.repeat(sets, rows)),
        "role": pa.array(["ood"] * rows * len(sets)),
        "uid": pa.array([f"u{number % rows}" for number in range(rows * len(sets))]),
        "gold": pa.array(names[gold]),
    }
    runs, scores = [], []
    for cell in matrix.runs(study):
        right = generator.random(rows * len(sets)) < 0.7 + 0.001 * int(cell.method[1:]) + generator.normal(0, 0.01)
        pred = np.where(right, gold, 1 - gold)
        logits = pa.FixedSizeListArray.from_arrays(pa.array(np.eye(2, dtype=np.float32)[pred].ravel()), 2)
        content = {
            "artifact_id": pa.array([cell.artifact] * len(pred)), **columns,
            "pred": pa.array(names[pred]), "logits": logits.cast(pa.list_(pa.float32())),
        }  # fmt: skip
        file = places.path("predictions", artifact=cell.artifact)
        file.parent.mkdir(parents=True)
        write_table("predictions", pa.table(content), file, {"labels": LABELS})
        identity = {"study": "bench", **cell.__dict__}
        runs.append({"run_id": cell.artifact, **identity, "status": "success"})
        for number, name in enumerate(sets):
            scores.append(
                {
                    "artifact_id": cell.artifact, **identity, "eval_set": name, "metric": "accuracy",
                    "artifact_kind": "run", "role": "ood" if number else "id", "n": rows, "higher_is_better": True,
                    "value": float(right[number * rows : (number + 1) * rows].mean()), "unit": "fraction",
                    "label_map": "identity", "resamples": 0,
                }
            )  # fmt: skip
    (root / "tables").mkdir()
    write_table("runs", runs, root / "tables" / "runs.parquet")
    write_table("metrics", scores, root / "tables" / "metrics.parquet")
    write_table("forgetting", [], root / "tables" / "forgetting.parquet")


def timed(root: Path, study: Any) -> dict[str, float]:
    spec = json.dumps({"study": "bench", "resolved": json.loads(study.canonical())})
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, spec, str(root)], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifacts", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1000, help="examples of a set")
    parser.add_argument("--resamples", type=int, default=10_000)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    methods = options.artifacts // options.seeds
    with tempfile.TemporaryDirectory(prefix="ftbench-comparisons-") as folder:
        root, before = Path(folder) / "bench", time.perf_counter()
        study = study_of(methods, options.sets, options.seeds, options.resamples)
        make(root, study, options.rows)
        print(f"made in {time.perf_counter() - before:.0f} s")
        once = timed(root, study)
        more = timed(root, study_of(methods, options.sets, options.seeds, 4 * options.resamples))
    growth = more["peak"] / once["peak"]
    header = ("resamples", "s", "cpu s", "peak MiB")
    lines = [(options.resamples, once["seconds"], once["cpu"], once["peak"] / 2**20)]
    lines.append((4 * options.resamples, more["seconds"], more["cpu"], more["peak"] / 2**20))
    print(table(header, lines))
    print("aim: 60 s on two cores at the default sizes")
    finish(
        NAME,
        {
            **vars(options), "seconds": once["seconds"], "cpu_seconds": once["cpu"], "peak_bytes": once["peak"],
            "seconds_at_four_times": more["seconds"], "peak_growth_at_four_times": growth,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
