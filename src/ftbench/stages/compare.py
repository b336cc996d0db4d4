"""Stage `compare`: every method and variant of a study with its baseline and with every other.

Reads the tables `runs` and `metrics`, and the stored predictions where they are, so it can be repeated without a
model. What is compared and how stands in `ftbench.comparing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.strict import Strict


class Spec(Strict):
    """The study that is compared; `resolved` is its canonical content."""

    study: str
    resolved: dict[str, Any]


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `runs`, `metrics`; outputs `comparisons` and `standings`.

    The optional input `results`, the study's folder, is where predictions are; without it only seeds are resampled.
    A study without a baseline has the comparisons of all pairs only.
    """
    from ftbench.comparing.scores import arranged
    from ftbench.comparing.standings import standings
    from ftbench.comparing.verdicts import comparisons
    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.paths import StudyPaths
    from ftbench.tables.store import read_table, write_table

    study = validated(Study, spec.resolved, f"study {spec.study}")
    columns = ["task", "model", "method", "variant", "status", "majority_score", "select_metric"]
    runs = read_table("runs", inputs["runs"]).select(columns).to_pylist()
    scores = arranged(read_table("metrics", inputs["metrics"]))
    places = StudyPaths(inputs["results"]) if "results" in inputs else None
    rows = [{"study": spec.study, **row} for row in comparisons(study, scores, places)]
    write_table("comparisons", rows, outputs["comparisons"])
    write_table(
        "standings", [{"study": spec.study, **row} for row in standings(study, scores, runs)], outputs["standings"]
    )
