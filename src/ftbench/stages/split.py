"""Stage `split`: the training and the selection rows of one task.

The selection rows are cut once for the whole study, so that every run, seed and soup is selected on the same
rows; a task may instead name a split of the training data set.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.config.study import SelectSet, TrainSet

SEED = 20230613  # of the cut; fixed, so that adding seeds or methods never moves it


class Spec(Strict):
    task: str
    kind: str
    labels: list[str]
    train: TrainSet
    select: SelectSet
    select_metric: str


def select_rows(total: int) -> int:
    """Default size of the cut: 500 rows, but no less than 2 % and no more than 10 % of the set."""
    return min(max(500, round(0.02 * total)), round(0.1 * total))


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    import numpy as np
    from pyarrow import compute, parquet

    from ftbench.data.availability import PREFIX, reason_of
    from ftbench.data.parquet import read_parquet_file
    from ftbench.data.prior import hashes as text_hashes
    from ftbench.data.sampling import strata_of, stratified
    from ftbench.training.seeds import numpy_generator

    prepared = read_parquet_file(inputs["prepared"])
    if (reason := reason_of(prepared)) is not None:
        raise FtbenchError(f"task {spec.task}: its data set {spec.train.dataset} is {PREFIX}{reason}")

    def rows_of(split: str) -> Any:
        return prepared.filter(compute.equal(prepared.column("split"), split)).drop_columns(["split"])

    pool = rows_of(spec.train.split)
    where = f"task {spec.task}, data set {spec.train.dataset}"
    if pool.num_rows == 0:
        known = sorted(set(prepared.column("split").to_pylist()))
        raise FtbenchError(f"{where}: found no rows in split `{spec.train.split}`; it has the splits {known}")
    hashes = text_hashes(pool)
    strata = strata_of(pool.column("label").to_pylist(), pool.column("value").to_pylist())
    if spec.select.split:
        selected, left = rows_of(spec.select.split), np.arange(pool.num_rows)
        if selected.num_rows == 0:
            raise FtbenchError(f"{where}: found no rows in split `{spec.select.split}` (key `select.split`)")
        # what is trained on cannot tell which run learnt more
        trained = set(hashes)
        new = [row for row, value in enumerate(text_hashes(selected)) if value not in trained]
        if not new:
            raise FtbenchError(f"{where}: found every row of `{spec.select.split}` in the training split as well")
        if len(new) < selected.num_rows:
            print(f"select: {selected.num_rows - len(new)} rows that are also trained on are left out", flush=True)
        selected = selected.take(new)
    else:
        wanted = spec.select.rows or select_rows(pool.num_rows)
        # a text that occurs twice may not stand on both sides of the cut
        once = Counter(hashes)
        candidates = [row for row, value in enumerate(hashes) if once[value] == 1]
        least = max(2, len(spec.labels))
        if wanted < least or wanted > len(candidates) // 2:
            raise FtbenchError(
                f"{where}: found {pool.num_rows} rows ({len(candidates)} with a text of their own) in split "
                f"`{spec.train.split}`, too few to cut {wanted} selection rows; expected at least {least} and at "
                "most half of them. Set `select.rows`, or name a split of its own under `select.split`."
            )
        drawn = stratified([strata[row] for row in candidates], wanted, numpy_generator(SEED, "select"))
        cut = np.array([candidates[row] for row in drawn])
        selected = pool.take(cut)
        left = np.setdiff1d(np.arange(pool.num_rows), cut)
    if spec.train.rows and spec.train.rows > len(left):
        raise FtbenchError(
            f"{where}: found {len(left)} rows after the selection cut; `train.rows` asks for {spec.train.rows}"
        )
    if spec.train.rows and spec.train.subset == "fixed":
        left = left[stratified([strata[row] for row in left], spec.train.rows, numpy_generator(SEED, "train"))]
    train = pool.take(left)
    present = set(train.column("label").to_pylist())
    missing = [name for name in spec.labels if name not in present]
    if spec.kind == "classification" and missing:
        raise FtbenchError(f"{where}: found no training row with the labels {missing}. Take more rows.")
    parquet.write_table(train, outputs["train"], compression="zstd")
    parquet.write_table(selected, outputs["select"], compression="zstd")
    record = {
        "task": spec.task,
        "kind": spec.kind,
        "labels": spec.labels,
        "train_rows": train.num_rows,
        "select_rows": selected.num_rows,
        "label_counts": dict(Counter(train.column("label").to_pylist())) if spec.kind == "classification" else None,
        "select_metric": spec.select_metric,
    }
    outputs["record"].write_text(json.dumps(record, indent=1))
