"""What the graph of a study costs beside a bare workflow of the same shape.

Times `snakemake -n` before anything has run, and `snakemake` when everything is up to date, for studies of
several sizes, with the peak memory of the process. The bare workflow is cut from this checkout's own rules:
same rules, wildcards, inputs and outputs, a constant as parameter, `touch` as command. Nothing is trained:
for the up-to-date case all files are made empty and `snakemake --touch` records them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from materials import finish, table
from workflows import bare_copy, checkout_copy, outputs_of, study_of, timed

NAME = "graph"


def snakemake(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--config", "study=graph", *arguments]


def measure(
    folders: dict[str, Path], arguments: list[str], expected: str, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Wall seconds, processor seconds and peak bytes of a command in each folder, in alternating order."""
    found: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": [], "memory": []} for name in folders}
    for turn in range(rounds):
        for name in list(folders) if turn % 2 == 0 else reversed(folders):
            for key, value in timed(snakemake(*arguments), folders[name], expected).items():
                found[name][key].append(value)
    return found


def ratios(found: dict[str, dict[str, list[float]]]) -> dict[str, float]:
    """Ours to bare, the median over the rounds."""
    return {
        key: statistics.median(ours / bare for ours, bare in zip(found["ours"][key], found["bare"][key], strict=True))
        for key in ("wall", "cpu", "memory")
    }


def case(size: int, up_to_date: bool, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Build both workflows of about `size` jobs below `folder` and time them."""
    folders = {"ours": folder / "ours", "bare": folder / "bare"}
    checkout_copy(folders["ours"])
    study_of(size, folders["ours"] / "config" / "studies" / "graph.yaml")
    jobs = bare_copy(folders["ours"], folders["bare"])
    lines = [{"case": "dry run", "jobs": jobs, "found": measure(folders, ["-n"], "Job stats", rounds)}]
    if up_to_date:
        for place in folders.values():
            for file in outputs_of(folders["ours"]):
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).touch()
            timed(snakemake("--touch", "--quiet", "all"), place)
        lines.append({"case": "up to date", "jobs": jobs, "found": measure(folders, [], "Nothing to be done", rounds)})
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 4000, 15000], help="jobs in the graph, about")
    parser.add_argument("--up-to-date", type=int, default=1000, help="largest size of the up-to-date case")
    parser.add_argument("--rounds", type=int, default=2, help="times that each command runs, in alternating order")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as Python does unless told otherwise
    measured = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="ftbench-graph-") as folder:
            measured += case(size, size <= options.up_to_date, options.rounds, Path(folder))
    rows, result = [], []
    for line in measured:
        ratio = ratios(line["found"])
        middle = {
            name: {key: statistics.median(values) for key, values in line["found"][name].items()}
            for name in ("ours", "bare")
        }
        rows.append(
            (
                line["case"], line["jobs"], middle["ours"]["wall"], middle["bare"]["wall"], ratio["wall"], ratio["cpu"],
                middle["ours"]["memory"] / 2**20, middle["bare"]["memory"] / 2**20,
            )
        )  # fmt: skip
        result.append({"case": line["case"], "jobs": line["jobs"], "ratio": ratio, **middle})
    header = ("case", "jobs", "ours s", "bare s", "ratio", "by cpu time", "ours MiB", "bare MiB")
    print(table(header, rows))
    print("aim: a ratio of 1.2 or less")
    finish(NAME, {"cases": result})


if __name__ == "__main__":
    main()
