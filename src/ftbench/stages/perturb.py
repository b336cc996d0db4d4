"""Stage `perturb`: the texts of one task's evaluation sets, edited by every perturbation of the study.

Runs on a CPU without a model. Every draw comes from the row's uid, the plug-in and a seed, so all artifacts are judged
on the same rows; the unedited rows stand in the file too, so that nothing else has to be predicted beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ftbench.config.strict import Strict

CLEAN = ""  # in the place of a perturbation's name: rows as they are


class Edited(Strict):
    """One perturbation as the study describes it."""

    plugin: str
    config: dict[str, Any]
    sets: list[str]
    strengths: list[float]
    rows: int | None
    seeds: list[int]
    texts: Literal["both", "a", "b"]


class Spec(Strict):
    task: str
    perturbations: dict[str, Edited]


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `evaluation`, `audit`; output `perturbed`: rows with perturbation, eval_set, seed, strength, uid, texts,
    label or value, and whether the texts differ. Sets that are not available are left out."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    from ftbench.data.availability import without_rows
    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.sampling import strata_of, stratified
    from ftbench.plugins import plugin
    from ftbench.training.seeds import numpy_generator

    evaluation = read_parquet_file(inputs["evaluation"])
    there = json.loads(inputs["audit"].read_text(encoding="utf-8"))["sets"]
    columns = ("perturbation", "eval_set", "seed", "strength", "uid", "text_a", "text_b", "label", "value", "changed")
    found: dict[str, list[Any]] = {name: [] for name in columns}

    def keep(
        name: str, eval_set: str, seed: int, strength: float, rows: list[dict[str, Any]], texts: list[Any]
    ) -> None:
        for row, (text_a, text_b) in zip(rows, texts, strict=True):
            changed = (text_a, text_b) != (row["text_a"], row["text_b"])
            values = (name, eval_set, seed, strength, row["uid"], text_a, text_b, row["label"], row["value"], changed)
            for column, value in zip(columns, values, strict=True):
                found[column].append(value)

    for eval_set in dict.fromkeys(name for entry in spec.perturbations.values() for name in entry.sets):
        if eval_set not in there:
            print(f"{eval_set}: not available, left out", flush=True)
            continue
        table = evaluation.filter(compute.equal(evaluation.column("eval_set"), eval_set))
        strata = strata_of(table.column("label").to_pylist(), table.column("value").to_pylist())
        rows, used = table.to_pylist(), set[int]()
        wanted = {name: entry for name, entry in spec.perturbations.items() if eval_set in entry.sets}
        for name, entry in wanted.items():
            taken = stratified(strata, entry.rows or len(rows), numpy_generator(0, "perturb", eval_set)).tolist()
            used |= set(taken)
            edit = plugin("perturbations", entry.plugin).factory
            edit = edit(edit.Config.model_validate(entry.config))
            chosen = [rows[at] for at in taken]
            for seed in entry.seeds:
                for strength in entry.strengths:
                    texts = [_edited(edit, entry, row, strength, seed) for row in chosen]
                    keep(name, eval_set, seed, strength, chosen, texts)
            print(f"{name} on {eval_set}: {len(chosen)} rows", flush=True)
        clean = [rows[at] for at in sorted(used)]
        keep(CLEAN, eval_set, 0, 0.0, clean, [(row["text_a"], row["text_b"]) for row in clean])
    if not found["uid"]:
        parquet.write_table(without_rows("no set that is perturbed is available"), outputs["perturbed"])
        return
    types = {"seed": pa.int64(), "strength": pa.float64(), "value": pa.float64(), "changed": pa.bool_()}
    made = pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in found.items()})
    parquet.write_table(made, outputs["perturbed"], compression="zstd")


def _edited(edit: Any, entry: Edited, row: Mapping[str, Any], strength: float, seed: int) -> tuple[str, str | None]:
    """Both texts of a row; one that an edit leaves without any letter stays as it was."""
    from ftbench.training.seeds import numpy_generator

    texts: list[str | None] = []
    for side in ("a", "b"):
        text = row[f"text_{side}"]
        if text is not None and (entry.texts in ("both", side) or row["text_b"] is None):
            new = edit.perturbed(text, strength, numpy_generator(seed, "perturb", entry.plugin, row["uid"], side))
            text = new if new.strip() else text
        texts.append(text)
    return str(texts[0]), texts[1]
