"""Stage `compare`: every method and variant of a study with its baseline and with every other.

Reads the tables `runs` and `metrics`, and the stored predictions where they are, so it can be repeated without a
model. What is compared and how stands in `ftbench.comparing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.strict import Strict

_DISTANCES = ("similarity", "overlap")


class Spec(Strict):
    """The study that is compared; `resolved` is its canonical content."""

    study: str
    resolved: dict[str, Any]


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `runs`, `metrics`; outputs `comparisons` and `standings`, and where they are asked for `pareto`, with the
    damage of the optional input `forgetting`, `shift`, with the optional inputs `similarity` and `overlap`,
    `trends`, `robustness` and `groups` together, and `attack_comparisons`, from `attacks` and `attack_scores`.

    The optional input `results`, the study's folder, is where predictions are; without it only seeds are resampled.
    A study without a baseline has the comparisons of all pairs only.
    """
    import pyarrow as pa
    from pyarrow import compute

    from ftbench.comparing.attacks import attack_comparisons
    from ftbench.comparing.scores import arranged
    from ftbench.comparing.standings import standings
    from ftbench.comparing.verdicts import comparisons
    from ftbench.config.strict import validated
    from ftbench.config.study import Study
    from ftbench.paths import StudyPaths
    from ftbench.stages.compare_prior import pareto_rows
    from ftbench.tables.store import read_table, write_table

    study = validated(Study, spec.resolved, f"study {spec.study}")
    columns = ["run_id", "task", "model", "method", "variant", "status", "majority_score", "select_metric"]
    columns += ["charged_rows"] if study.prior else []
    runs = read_table("runs", inputs["runs"]).select(columns).to_pylist()
    metrics = read_table("metrics", inputs["metrics"])
    scores = arranged(metrics)
    places = StudyPaths(inputs["results"]) if "results" in inputs else None
    rows = [{"study": spec.study, **row} for row in comparisons(study, scores, places)]
    write_table("comparisons", rows, outputs["comparisons"])
    write_table(
        "standings", [{"study": spec.study, **row} for row in standings(study, scores, runs)], outputs["standings"]
    )
    if "shift" in outputs:
        from ftbench.comparing.shifts import shift_rows

        known = {name: read_table(name, inputs[name]).to_pylist() if name in inputs else [] for name in _DISTANCES}
        shifts = shift_rows(study, scores, **known)
        write_table("shift", [{"study": spec.study, **row} for row in shifts], outputs["shift"])
    if "robustness" in outputs:
        from ftbench.comparing.robustness import robustness

        for name, found in vars(robustness(study, scores, places)).items():
            write_table(name, [{"study": spec.study, **row} for row in found], outputs[name])
    if "attack_comparisons" in outputs:
        attacked = read_table("attack_scores", inputs["attack_scores"]).to_pylist() if "attacks" in inputs else []
        tests = attack_comparisons(study, attacked, inputs.get("attacks", Path()))
        write_table(
            "attack_comparisons", [{"study": spec.study, **row} for row in tests], outputs["attack_comparisons"]
        )
    if "pareto" not in outputs:
        return
    wanted = compute.is_in(metrics.column("role"), value_set=pa.array(["id", "prior"]))
    forgetting = read_table("forgetting", inputs["forgetting"]).to_pylist() if "forgetting" in inputs else []
    points = pareto_rows(study, runs, metrics.filter(wanted).to_pylist(), forgetting)
    write_table("pareto", [{"study": spec.study, **row} for row in points], outputs["pareto"])
