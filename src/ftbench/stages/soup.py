"""Stage `soup`: one model merged from the runs of a family, chosen on the `select` rows alone.

Preconditions are checked here and not left to the user: same architecture, tokenizer, labels and start, same
layout, finite weights. Ingredients are read tensor by tensor; see `ftbench.merging`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftbench.config.strict import Strict
from ftbench.outputs import Outputs

if TYPE_CHECKING:
    from ftbench.soups.base import Candidate, Decision
    from ftbench.soups.laboratory import Laboratory


class Spec(Strict):
    study: str
    task: str
    model: str
    method: str | None  # None: the family spans several
    variant: str | None
    family: str
    over: str = "seeds"
    artifact: str
    recipe: str
    config: dict[str, Any]
    ingredients: list[str]  # run ids; the inputs are named by their position
    collapsed: Literal["leave_out", "keep", "refuse"] = "leave_out"
    accumulate: Literal["float64", "float32"] = "float64"
    form: Literal["plain", "as_runs"] = "plain"
    kind: str
    labels: list[str]
    select_metric: str
    max_length: int


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    """Inputs `base`, `select`, `record<i>` and `model<i>` of each ingredient, and `start`, the weights after the prior
    task, where the study has one and the recipe needs the start. Outputs `model`, `card`, `record`."""
    import time

    import torch

    from ftbench import provenance
    from ftbench.merging.agreement import check_layouts, check_records
    from ftbench.merging.source import open_ingredient
    from ftbench.merging.writing import write_file
    from ftbench.plugins import plugin
    from ftbench.soups.base import Kitchen
    from ftbench.soups.card import card, common, failed, told
    from ftbench.soups.opening import laboratory_for, plain_file, start_of, usable
    from ftbench.soups.own_form import as_runs
    from ftbench.training.weights import file_digest, save_weights

    started, clock = provenance.now(), time.perf_counter()
    records, left_out = usable(spec, inputs)
    if not records:
        save_weights({}, outputs["model"], {"status": "failed"})
        record: dict[str, Any] = failed(spec, left_out)
    else:
        check_records(records, spec.labels)
        factory = plugin("soups", spec.recipe).factory
        with provenance.PeakMemory() as memory, ExitStack() as stack:
            sources = {
                run_id: stack.enter_context(open_ingredient(plain_file(spec, inputs, run_id, outputs.work)))
                for run_id in records
            }
            check_layouts(sources)
            laboratory = laboratory_for(spec, spec.select_metric, inputs, sources, outputs.work)
            laboratory.accumulate = getattr(torch, spec.accumulate)
            laboratory.digests = {run_id: str(records[run_id].get("checkpoint_sha256")) for run_id in sorted(records)}
            candidates = _candidates(spec, records, laboratory)
            laboratory.sources = {candidate.run_id: sources[candidate.run_id] for candidate in candidates}
            if factory.needs_start or spec.form == "as_runs":
                laboratory.start = stack.enter_context(open_ingredient(start_of(inputs, records, outputs.work)))
            kitchen = Kitchen(candidates, laboratory.score, laboratory.judge, laboratory)
            decision: Decision = factory(factory.Config.model_validate(spec.config)).decide(kitchen)
            # what a decision leaves out is not read again, and its tensors need not be finite
            used = {run_id: source for run_id, source in laboratory.sources.items() if run_id in decision.weights}
            merger = laboratory.merger(laboratory.rule_of(decision))
            merger.sources = used
            header = {
                "status": "success",
                "recipe": spec.recipe,
                "settings": json.dumps(spec.config, sort_keys=True),
                "ingredients": json.dumps(decision.weights),
                "versions": provenance.versions(),
            }
            methods: list[dict[str, Any]] = []
            if spec.form == "as_runs":
                files = {run_id: inputs[f"model{spec.ingredients.index(run_id)}"] for run_id in used}
                tensors, form, methods = as_runs(files, records, decision, merger, laboratory)
                save_weights(tensors, outputs["model"], {**header, **form})
                score = _score_own_form(inputs, outputs["model"], methods, spec, laboratory)
            else:
                write_file(outputs["model"], merger.layout, merger.make, header)
                score = laboratory.score_file(outputs["model"])
            single = candidates[0].score
            if laboratory.rows is not None:  # compared on the rows that nothing was learnt from
                single = laboratory.score({candidates[0].run_id: 1.0})
        record = {
            **common(spec, left_out),
            **told(records, candidates, decision),
            "select_score": score,
            "select_rows": len(laboratory.data) if laboratory.rows is None else len(laboratory.rows),
            "best_single_score": single,
            "peak_anonymous_bytes": memory.bytes,
            "out_dtype": _types(merger.layout),
            "methods": methods,  # those that it takes to read the weights
        }
        print(
            f"{len(decision.weights)} of {len(candidates)} runs, {spec.select_metric} on select {score:.4f}",
            flush=True,
        )
    record |= {
        "wall_seconds": time.perf_counter() - clock,
        "checkpoint_bytes": outputs["model"].stat().st_size,
        "checkpoint_sha256": file_digest(outputs["model"]),
        **provenance.provenance(outputs.source, started),
    }
    outputs["card"].write_text(card(record), encoding="utf-8")
    outputs["record"].write_text(json.dumps(record, indent=1), encoding="utf-8")


def _score_own_form(
    inputs: Mapping[str, Path], file: Path, methods: list[dict[str, Any]], spec: Spec, laboratory: Laboratory
) -> float:
    """The score on `select` of a soup that is not stored as plain weights, read back from its file."""
    from ftbench.training.artifact import Artifact

    plugs = tuple((plug["name"], plug["config"]) for plug in methods)
    artifact = Artifact(inputs["base"].parent / "snapshot", file, plugs, inputs.get("start"))
    laboratory.fill(artifact.plain_weights(spec.labels, spec.kind).items())
    return laboratory.score_model()


def _candidates(spec: Spec, records: Mapping[str, Mapping[str, Any]], laboratory: Laboratory) -> list[Candidate]:
    """The candidates, best first. Runs of other tasks are scored on the rows that this soup is selected on."""
    from ftbench.soups.base import Candidate, best_first

    def score(run_id: str, record: Mapping[str, Any]) -> float:
        foreign = record.get("task", spec.task) != spec.task
        return laboratory.score({run_id: 1.0}) if foreign else float(record["select_score"])

    return best_first(
        Candidate(run_id, laboratory.sources[run_id].file, score(run_id, record)) for run_id, record in records.items()
    )


def _types(layout: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    """The floating-point types of the result, as torch names them."""
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    return ", ".join(sorted({names[kind] for _, kind in layout.values() if kind in names}))
