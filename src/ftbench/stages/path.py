"""Stage `path`: what lies on the lines between the runs of a family, and between their start and their mean.

A soup works where the models share a basin: no loss rises on the line between them. This stage walks the lines and
says how high they rise. With the prior task's rows among the sets, the line from start to mean is the WiSE-FT path of
new task against prior task. Nothing is chosen by what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftbench.config.strict import Strict
from ftbench.outputs import Outputs
from ftbench.soups.judging import PriorHead

if TYPE_CHECKING:
    from ftbench.merging.streaming import Rule
    from ftbench.soups.judging import Judged
    from ftbench.soups.laboratory import Laboratory

START, MEAN = "start", "mean"


class Spec(Strict):
    study: str
    task: str
    model: str
    method: str | None
    variant: str | None
    family: str
    path: str  # id of the cell: its folder below the study
    ingredients: list[str]  # run ids; the inputs are named by their position
    collapsed: Literal["leave_out", "keep", "refuse"]
    points: int
    pairs: int
    sets: list[str]
    rows: int | None
    kind: str
    labels: list[str]
    metric: str
    max_length: int
    prior: PriorHead | None = None  # where the prior task's rows are among the sets


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    """Inputs as of the stage `soup`, and `evaluation`, `audit`; outputs `points`, `barriers`, `vectors`."""
    from ftbench.merging.agreement import check_layouts, check_records
    from ftbench.merging.source import open_ingredient
    from ftbench.soups.judging import judged_sets
    from ftbench.soups.opening import laboratory_for, plain_file, start_of, usable
    from ftbench.tables.store import write_table

    records, left_out = usable(spec, inputs)
    for run_id, reason in left_out.items():
        print(f"left out: {run_id}, {reason}", flush=True)
    points: list[dict[str, Any]] = []
    vectors: list[dict[str, Any]] = []
    if records:
        check_records(records, spec.labels)
        with ExitStack() as stack:
            sources = {
                run_id: stack.enter_context(open_ingredient(plain_file(spec, inputs, run_id, outputs.work)))
                for run_id in sorted(records)
            }
            check_layouts(sources)
            laboratory = laboratory_for(spec, spec.metric, inputs, sources, outputs.work)
            laboratory.start = stack.enter_context(open_ingredient(start_of(inputs, records, outputs.work)))
            vectors = [{**_common(spec), **row} for row in _vectors(laboratory)]
            sets = judged_sets(spec, inputs)
            for first, second, rule in _lines(spec, list(sources)):
                points += [{**_common(spec), **row} for row in _walk(spec, laboratory, sets, first, second, rule)]
                print(f"walked from {first} to {second}", flush=True)
    write_table("paths", points, outputs["points"])
    write_table("barriers", list(barriers(points)), outputs["barriers"])
    write_table("task_vectors", vectors, outputs["vectors"])


def _common(spec: Spec) -> dict[str, Any]:
    named = {"study", "task", "model", "method", "variant", "family"}
    return {"path_id": spec.path, **spec.model_dump(include=named)}


def _lines(spec: Spec, runs: list[str]) -> Iterator[tuple[str, str, Any]]:
    """The ends of each line, and the rule of a point by its position."""
    from ftbench.merging.streaming import mean_rule
    from ftbench.soups.base import mean_of
    from ftbench.soups.wise_ft import on_the_line

    pairs = [(first, second) for position, first in enumerate(runs) for second in runs[position + 1 :]]
    for first, second in pairs[: spec.pairs]:
        yield first, second, lambda at, ends=(first, second): mean_rule({ends[0]: 1 - at, ends[1]: at})
    yield START, MEAN, lambda at: on_the_line(mean_of(runs), at)


def _walk(
    spec: Spec, laboratory: Laboratory, sets: list[Judged], first: str, second: str, rule: Any
) -> Iterator[dict[str, Any]]:
    for step in range(spec.points):
        at = step / (spec.points - 1)
        made: Rule = rule(at)
        laboratory.fill(laboratory.merger(made).tensors())
        for each in sets:
            yield {"first": first, "second": second, "position": at, **each.walked(laboratory)}


def _vectors(laboratory: Laboratory) -> Iterator[dict[str, Any]]:
    """Lengths of the task vectors of each pair of runs, their distance and their cosine."""
    from ftbench.merging.geometry import cosine, distance, gram_of

    runs = list(laboratory.sources)
    products = gram_of(laboratory.sources, laboratory.start)
    for one in range(len(runs)):
        for other in range(one + 1, len(runs)):
            yield {
                "first": runs[one],
                "second": runs[other],
                "first_norm": float(products[one, one]) ** 0.5,
                "second_norm": float(products[other, other]) ** 0.5,
                "distance": distance(products, one, other),
                "cosine": cosine(products, one, other),
            }


def barriers(points: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row for each line and set, from the points on it: how far loss and error rise above their straight lines."""
    from ftbench.merging.geometry import barrier

    lines: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for point in points:
        lines.setdefault((point["first"], point["second"], point["eval_set"]), []).append(point)
    for found in lines.values():
        positions = [point["position"] for point in found]
        losses = [point["loss"] for point in found]
        scores = [point["score"] for point in found]
        known = {key: found[0][key] for key in found[0] if key not in ("position", "loss", "score")}
        complete = None not in losses
        yield {
            **known,
            "loss_barrier": barrier(losses, positions) if complete else None,
            "score_barrier": barrier([-score for score in scores], positions) if None not in scores else None,
            "highest_loss_at": positions[losses.index(max(losses))] if complete else None,
        }
