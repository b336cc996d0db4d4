"""Training throughput: the benchmark's own loop, a bare torch loop and the Trainer of transformers.

Same rows, model, batch size, optimiser, clipping and schedule; examples per second from the start of an
epoch to its last step, contenders taking one step each in turn, so that a noisy machine hits all alike. Run
by hand; only ratios within one run mean anything. Processor time stands beside wall time.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

from contenders import Materials, contenders
from materials import data_folder, encoder, finish, table
from race import Timed, race

NAME = "train_throughput"


def snli(folder: Path, rows: int) -> Any:
    """The first rows of SNLI's training split that have a label."""
    import numpy as np
    from pyarrow import compute, parquet

    from ftbench.training.examples import Examples

    content = parquet.read_table(folder / "snli" / "train.parquet")
    content = content.filter(compute.greater_equal(content.column("label"), 0)).slice(0, rows)
    return Examples(
        [str(index) for index in range(content.num_rows)],
        content.column("premise").to_pylist(),
        content.column("hypothesis").to_pylist(),
        np.asarray(content.column("label").to_pylist(), dtype=np.int64),
    )


def measure(materials: Materials, options: argparse.Namespace) -> None:
    """Let everyone run, print the table and the ratios."""
    everyone = contenders(materials, options.precisions)
    steps = {each.name: -(-len(materials.rows) // materials.batch_size) for each in everyone}
    for each in everyone:
        if each.family == "Trainer max":
            steps[each.name] = min(steps[each.name], options.padded_steps)
    timed: dict[str, list[Timed]] = {each.name: [] for each in everyone}
    for turn in range(options.rounds):
        for precision in options.precisions:
            racing = [each for each in everyone if each.precision == precision]
            if turn == 0:  # warm-up
                race(racing, dict.fromkeys(steps, 1), options.threads)
            order = racing if turn % 2 == 0 else racing[::-1]
            for name, one in race(order, steps, options.threads).items():
                timed[name].append(one)
    rates = {name: statistics.median(one.rows / one.wall for one in found) for name, found in timed.items()}
    rows = [
        (
            each.name,
            timed[each.name][0].rows,
            rates[each.name],
            statistics.median(one.rows / one.cpu for one in timed[each.name]),
            " ".join(f"{one.rows / one.wall:.1f}" for one in timed[each.name]),
            timed[each.name][0].loss,
        )
        for each in everyone
    ]
    print(table(("contender", "rows", "rows/s", "rows/cpu s", "rows/s, each round", "mean loss"), rows))

    def ratios(first: str, second: str) -> dict[str, float]:
        pairs = list(zip(timed[first], timed[second], strict=True))
        return {
            kind: statistics.median(
                (one.rows / getattr(one, kind)) / (other.rows / getattr(other, kind)) for one, other in pairs
            )
            for kind in ("wall", "cpu")
        }

    result: dict[str, Any] = {
        "threads": options.threads,
        "batch_size": materials.batch_size,
        "rows_per_second": rates,
    }
    for precision in options.precisions:
        mine = f"ours, {precision}"
        trainers = [each.name for each in everyone if each.precision == precision and "Trainer" in each.family]
        best = max(trainers, key=lambda name: rates[name])
        named = (
            ("bare", f"bare loop, {precision}", "aim 0.95 or more"),
            ("best_trainer", best, "aim 1 or more"),
            ("padded_trainer", f"Trainer, padded to 128, {precision}", "as run_glue pads"),
        )
        result[precision] = {}
        for key, other, aim in named:
            found = ratios(mine, other)
            result[precision][f"ours_to_{key}"] = found["wall"]
            result[precision][f"ours_to_{key}_cpu"] = found["cpu"]
            print(f"ours / {other}: {found['wall']:.2f}, by processor time {found['cpu']:.2f} ({aim})")
        result[precision]["best_trainer"] = best
    result["default"] = default_choice()
    print(
        f"by default a study trains in {result['default']['precision']} here, grouping: {result['default']['grouping']}"
    )
    finish(NAME, result)


def default_choice() -> dict[str, str]:
    """What a study that says nothing gets on this machine."""
    from ftbench.config.study import Training
    from ftbench.training.inference import device
    from ftbench.training.optimization import resolved_precision

    training = Training()
    return {"precision": resolved_precision(training.precision, device()), "grouping": training.grouping}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, help="folder with snli/train.parquet (or FTBENCH_DATA_ROOT)")
    parser.add_argument("--rows", type=int, default=480, help="training rows; one epoch over them is timed")
    parser.add_argument("--padded-steps", type=int, default=6, help="steps of the slow settings padded to 128")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2, help="times that every contender runs, in alternating order")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()

    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS=str(options.threads))
    snapshot = encoder(NAME)
    rows = snli(data_folder(NAME, options.data_root, ["snli"]), options.rows)
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    measure(Materials(snapshot, rows, options.batch_size), options)


if __name__ == "__main__":
    main()
