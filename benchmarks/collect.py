"""How long collecting the tables of a large study takes: all cells new, nothing new, one cell new.

Makes a results folder with the records, predictions (empty, they are not read), scores and calibration of many runs,
and runs the stage `collect` in a process of its own each time. Times are of the stage, without starting Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from materials import finish, table

NAME = "collect"
_CHILD = """
import json, resource, sys, time
from pathlib import Path
from ftbench.paths import COLLECTED
from ftbench.stages.collect import Spec, run
spec, root = json.loads(sys.argv[1]), Path(sys.argv[2])
(root / "tables").mkdir(exist_ok=True)
wall, cpu = time.perf_counter(), time.process_time()
run(Spec(**spec), {"results": root}, {name: root / "tables" / f"{name}.parquet" for name in COLLECTED})
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak}))
"""


def study_of(cells: int, seeds: int) -> Any:
    from ftbench.config.study import Study

    return Study.model_validate(
        {
            "seeds": list(range(seeds)),
            "models": ["tiny"],
            "tasks": {"task": {"train": {"dataset": "d"}, "evaluate": {"test": {"dataset": "d", "role": "id"}}}},
            "methods": {f"m{number:05}": None for number in range(cells // seeds)},
        }
    )


def make(root: Path, study: Any, sets: int, metrics: int) -> None:
    """The files of all runs; one file of scores is written by the package and copied with another artifact in it."""
    from ftbench import matrix
    from ftbench.paths import StudyPaths
    from ftbench.tables.store import write_table

    places = StudyPaths(root)
    for cell in matrix.runs(study):
        identity = {"study": "bench", **cell.__dict__}
        record = {
            "run_id": cell.artifact, **identity, "status": "success", "config_json": json.dumps({"key": "x" * 2000}),
            "train_seconds": 1.0, "versions": {"torch": "2"}, "started_at": "2025-01-01T00:00:00+00:00",
        }  # fmt: skip
        file = places.path("run", **cell.__dict__)
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(record))
        scores = places.path("metrics", artifact=cell.artifact)
        scores.parent.mkdir(parents=True)
        rows = [
            {
                **identity, "artifact_id": cell.artifact, "eval_set": f"set{one}", "metric": f"metric{other}",
                "artifact_kind": "run", "role": "id", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "n": 100,
                "higher_is_better": True, "unit": "fraction", "label_map": "identity", "resamples": 1000,
            }
            for one in range(sets)
            for other in range(metrics)
        ]  # fmt: skip
        write_table("metrics", rows, scores)
        about = places.path("calibration", artifact=cell.artifact)
        write_table("calibration", calibration(cell.artifact, identity, sets), about)
        places.path("predictions", artifact=cell.artifact).touch()


def calibration(artifact: str, identity: dict[str, Any], sets: int) -> list[dict[str, Any]]:
    """Rows of the table `calibration` of one artifact."""
    bins = {"bin_n": [7] * 15, "bin_confidence": [0.5] * 15, "bin_accuracy": [0.5] * 15}
    return [
        {**identity, "artifact_id": artifact, "artifact_kind": "run", "role": "id", "eval_set": f"set{one}",
         "scaling": scaling, "accuracy": 0.5, "confidence": 0.5, "temperature": 1.0, "n": 100, "resamples": 1000,
         **bins}
        for one in range(sets)
        for scaling in ("none", "temperature")
    ]  # fmt: skip


def timed(root: Path, study: Any) -> dict[str, float]:
    spec = json.dumps({"study": "bench", "resolved": json.loads(study.canonical())})
    child = root.parent / "spec.json"
    child.write_text(spec)  # as long as the study; a command line has a limit
    code = _CHILD.replace("json.loads(sys.argv[1])", "json.loads(Path(sys.argv[1]).read_text())")
    done = subprocess.run(
        [sys.executable, "-c", code, str(child), str(root)], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--metrics", type=int, default=6, help="metrics of a set")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    with tempfile.TemporaryDirectory(prefix="ftbench-collect-") as folder:
        root, study = Path(folder) / "bench", study_of(options.cells, options.seeds)
        make(root, study, options.sets, options.metrics)
        found = {"all cells new": timed(root, study), "nothing new": timed(root, study)}
        touched = next((root / "predictions").rglob("metrics.parquet"))
        touched.touch()
        found["one cell new"] = timed(root, study)
    print(table(("case", "s", "cpu s", "peak MiB"), [(name, *_line(one)) for name, one in found.items()]))
    print("aim: 5 s for 10,000 cells, all new, on two cores")
    finish(NAME, {**vars(options), "cases": found})


def _line(one: dict[str, float]) -> tuple[float, float, float]:
    return one["seconds"], one["cpu"], one["peak"] / 2**20


if __name__ == "__main__":
    main()
