"""One of the processes that run a stage together; the first one writes, the outputs of the others are dropped.

Started by `training/launch.py` alone, which writes the job to the standard input.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from ftbench.driver import end_with_parent, follow
from ftbench.outputs import Outputs, Stopped
from ftbench.training.launch import STOPPED


def main() -> int:
    end_with_parent()  # without the stage that holds the cell's lock, another job may begin on it
    follow()
    job = json.loads(sys.stdin.read())
    module = importlib.import_module(f"ftbench.stages.{job['stage']}")
    inputs = {name: Path(path) for name, path in job["inputs"].items()}
    with tempfile.TemporaryDirectory(prefix="ftbench-dropped-") as folder:
        first = os.environ["RANK"] == "0"
        final = {name: Path(path) if first else Path(folder) / name for name, path in job["outputs"].items()}
        try:
            module.run_alone(
                module.Spec.model_validate_json(job["spec"]), inputs, Outputs(final, Path(job["work"]), job["source"])
            )
        except Stopped as stop:
            print(f"stopped: {stop}", flush=True)
            return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
