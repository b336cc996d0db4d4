"""Stage `pretrain_samples`: what a model knows of its prior task before fine-tuning, one row per sample.

Computed once per model and prior set and shared by all runs. Rows are read, judged and written in shards, so
that memory does not grow with the pool and a stopped job goes on behind its last shard.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.outputs import Outputs, Stopped

if TYPE_CHECKING:
    import pyarrow as pa

SHARD = 4096  # rows read, judged and written at a time


class Spec(Strict):
    prior: str
    model: str
    kind: str  # classification, regression, or the objective of a language model: masked, causal
    labels: list[str]
    pool: str
    evaluation: str
    rows: int | None = None  # of the pool: those that the model was trained on
    max_length: int
    precision: str = "fp32"
    width: float | None = None  # of a regression: how far off a prediction may be and still count as right
    words: float = 1.0  # of a language model: share of a row's supervised words that must be right
    clusters: int | None = None


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    from pyarrow import parquet

    from ftbench.stages.sample_shards import Judge, finish
    from ftbench.training.signals import told_to_stop

    judge = Judge(spec, inputs)
    folder = outputs.work / f"shards-{judge.base_id}-{_digest(inputs['prepared'])}"
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[Path] = []
    with told_to_stop() as signals:
        for number, (role, rows) in enumerate(_parts(spec, inputs["prepared"])):
            shard = folder / f"{number:07d}.parquet"
            shards.append(shard)
            if shard.is_file():
                continue
            partial = shard.with_name(f".{os.getpid()}.partial")
            parquet.write_table(judge.judged(rows, role), partial, compression="zstd")
            os.replace(partial, shard)
            if signals:
                raise Stopped(f"{len(shards)} shards of prior samples were written; run again to go on")
    counts = finish(spec, shards, outputs["samples"])
    if not counts["pool"]:
        raise FtbenchError(f"prior {spec.prior}: found no rows in split `{spec.pool}` (key `prior.pool`)")
    print(
        f"{counts['pool']} rows of the pool, {counts['correct'] / counts['pool']:.1%} right; "
        f"{counts['evaluation']} rows to evaluate; {counts['repeated']} repeated texts left out",
        flush=True,
    )


def _digest(file: Path) -> str:
    """Shards of other rows must not be taken for these."""
    from ftbench.training.weights import file_digest

    return file_digest(file)[:16]


def _trained(spec: Spec, file: Path) -> pa.Array | None:
    """The uids of the rows that the model was trained on; None where that is the whole pool."""
    from pyarrow import compute, parquet

    from ftbench.data.prior import SEED, trained_rows
    from ftbench.training.seeds import numpy_generator

    if spec.rows is None:
        return None
    pool = parquet.read_table(file, columns=["split", "uid", "label", "value"])
    pool = pool.filter(compute.equal(pool.column("split"), spec.pool))
    return pool.column("uid").combine_chunks().take(trained_rows(pool, spec.rows, numpy_generator(SEED, "prior")))


def _parts(spec: Spec, file: Path) -> Iterator[tuple[str, pa.Table]]:
    """Rows of the pool and of the evaluation split in parts of one role, in the file's order."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    trained = _trained(spec, file)
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=SHARD):
        rows = pa.Table.from_batches([batch])
        for role, split in (("rehearsal_pool", spec.pool), ("prior_eval", spec.evaluation)):
            chosen = rows.filter(compute.equal(rows.column("split"), split))
            if role == "rehearsal_pool" and trained is not None:
                chosen = chosen.filter(compute.is_in(chosen.column("uid"), value_set=trained))
            if chosen.num_rows:
                yield role, chosen
