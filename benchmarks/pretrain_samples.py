"""Prior samples: rows a second of the stage against a bare forward pass, and its peak memory at two sizes.

Both read the same rows of SNLI, in the same batches of similar length. Memory is that of a process of its own for
each size, weights included, measured as the stage runs; what the larger pool adds should be next to nothing. Run by
hand; only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from materials import data_folder, encoder, finish, table

NAME = "pretrain_samples"
LABELS = ["entailment", "neutral", "contradiction"]


def prepare(folder: Path, data: Path, snapshot: Path, rows: int) -> dict[str, Path]:
    """Rows as stage `prepare` leaves them, repeated under new texts where SNLI has fewer, and a model's weights."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    from ftbench.training.models import load_tokenizer, new_classifier
    from ftbench.training.weights import plain_state, save_weights

    content = parquet.read_table(data / "snli" / "train.parquet", columns=["premise", "hypothesis", "label"])
    content = content.filter(compute.greater_equal(content.column("label"), 0))
    chosen = pa.array([number % content.num_rows for number in range(rows)])
    content = content.take(chosen)
    turns = [number // content.num_rows for number in range(rows)]
    second = [f"{text} {turn}" if turn else text
              for text, turn in zip(content.column("hypothesis").to_pylist(), turns, strict=True)]  # fmt: skip
    prepared = pa.table(
        {
            "split": ["pool"] * rows,
            "uid": [f"u{number}" for number in range(rows)],
            "text_a": content.column("premise"),
            "text_b": second,
            "label": [LABELS[label] for label in content.column("label").to_pylist()],
            "value": pa.nulls(rows, pa.float64()),
            "aux": pa.nulls(rows, pa.string()),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(prepared, folder / "prepared.parquet", compression="zstd", row_group_size=16384)
    (folder / "base.json").write_text("{}")
    (folder / "snapshot").symlink_to(snapshot, target_is_directory=True)
    padding = load_tokenizer(snapshot).pad_token_id
    save_weights(plain_state(new_classifier(snapshot, LABELS, "classification", 0, None, padding)), folder / "w")
    return {"base": folder / "base.json", "prepared": folder / "prepared.parquet", "start": folder / "w"}


def length(config: Any) -> int:
    """Tokens kept of a row."""
    return min(128, int(config.max_position_embeddings))


def stage(folder: Path, inputs: dict[str, Path]) -> float:
    """Seconds of the whole stage, loading of the model included."""
    from transformers import AutoConfig

    from ftbench.stage import execute

    longest = length(AutoConfig.from_pretrained(inputs["base"].parent / "snapshot", local_files_only=True))
    spec = {"prior": "snli", "model": "minilm", "kind": "classification", "labels": LABELS, "pool": "pool",
            "evaluation": "none", "max_length": longest}  # fmt: skip
    started = time.perf_counter()
    execute(NAME, spec, inputs, {"samples": folder / "samples.parquet"}, folder / "work", "benchmark")
    return time.perf_counter() - started


def bare(inputs: dict[str, Path]) -> float:
    """Seconds of reading, tokenising and passing the same rows through the same model, and nothing else."""
    import torch
    from pyarrow import parquet

    from ftbench.training.batches import collate
    from ftbench.training.examples import encode, from_table
    from ftbench.training.inference import device, length_batches
    from ftbench.training.models import classifier_with, load_tokenizer
    from ftbench.training.weights import load_weights

    started = time.perf_counter()
    snapshot = inputs["base"].parent / "snapshot"
    tokenizer = load_tokenizer(snapshot)
    model = classifier_with(snapshot, LABELS, "classification", load_weights(inputs["start"]), tokenizer.pad_token_id)
    place, longest = device(), length(model.config)
    model.to(place).eval()
    with torch.inference_mode():
        for part in parquet.ParquetFile(inputs["prepared"]).iter_batches(batch_size=4096):
            import pyarrow as pa

            data = encode(tokenizer, from_table(pa.Table.from_batches([part]), LABELS, "classification"), longest)
            for rows in length_batches(data.lengths, place):
                model(**collate(data, rows, place).inputs).logits.float().cpu()
    return time.perf_counter() - started


def peak(folder: Path, threads: int) -> int:
    """Peak memory of the stage in a process of its own, bytes."""
    done = subprocess.run(
        [sys.executable, __file__, "--only", str(folder), "--threads", str(threads)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(json.loads(done.stdout.splitlines()[-1])["peak"])


def only(folder: Path) -> None:
    """Run the stage in this process and print its peak memory."""
    import resource

    inputs = {"base": folder / "base.json", "prepared": folder / "prepared.parquet", "start": folder / "w"}
    stage(folder, inputs)
    print(json.dumps({"peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="folder of a transformers model; default: the extra minilm's")
    parser.add_argument("--data-root", type=Path, help="folder with snli/train.parquet (or FTBENCH_DATA_ROOT)")
    parser.add_argument("--rows", type=int, default=4000, help="rows whose time is compared")
    parser.add_argument("--memory", type=int, nargs="+", default=[10_000, 100_000], help="pool sizes for the memory")
    parser.add_argument("--rounds", type=int, default=3, help="times that stage and bare pass are run, in turn")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()

    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS=str(options.threads))
    import torch

    torch.set_num_threads(options.threads)
    if options.only:
        only(options.only)
        return
    snapshot = options.model.resolve() if options.model else encoder(NAME)
    data = data_folder(NAME, options.data_root, ["snli"])
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        inputs = prepare(root / "speed", data, snapshot, options.rows)
        times: dict[str, list[float]] = {"stage": [], "bare pass": []}
        for turn in range(options.rounds):
            pairs: list[tuple[str, Any]] = [
                ("stage", lambda: stage(root / "speed", inputs)), ("bare pass", lambda: bare(inputs))
            ]  # fmt: skip
            for name, run in pairs if turn % 2 == 0 else pairs[::-1]:
                times[name].append(run())
        rates = {name: options.rows / statistics.median(found) for name, found in times.items()}
        ratio = statistics.median(b / s for s, b in zip(times["stage"], times["bare pass"], strict=True))
        memory = {}
        for rows in options.memory:
            prepare(root / str(rows), data, snapshot, rows)
            memory[rows] = peak(root / str(rows), options.threads)
    print(table(("what", "rows/s"), list(rates.items())))
    print(f"stage / bare pass: {ratio:.2f} (aim 0.9 or more)")
    print(table(("rows", "peak memory, MB"), [(rows, value / 1e6) for rows, value in memory.items()]))
    finish(NAME, {"rows": options.rows, "threads": options.threads, "rows_per_second": rates, "ratio": ratio,
                  "peak_bytes": memory})  # fmt: skip


if __name__ == "__main__":
    main()
