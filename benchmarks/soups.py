"""Soups of many checkpoints: each recipe's time beside the time to read the files, and its peak memory.

Makes checkpoints of random weights in the layout of BERT base, and merges them by every recipe, each in a process of
its own: decision and written file, with a few random rows where a recipe tries or measures. Recipes that try several
scales get one, so that a merge is timed. mergekit merges the same files where it is installed. Run by hand; only
ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from materials import finish, table

NAME = "soups"
LABELS = ["negative", "positive"]
SINGLE = {
    "wise_ft": {"alphas": [0.5]}, "slerp": {"t": [0.5]},
    **{name: {"scales": [0.3]} for name in ("task_arithmetic", "ties", "dare", "della", "breadcrumbs")},
}  # fmt: skip
MERGEKIT = {
    "uniform": {"merge_method": "linear", "parameters": {"normalize": True}},
    "task_arithmetic": {"merge_method": "task_arithmetic", "parameters": {"normalize": False}},
    "ties": {"merge_method": "ties", "parameters": {"density": 0.2, "normalize": True}},
    "model_stock": {"merge_method": "model_stock"},
}


def bert(options: argparse.Namespace) -> Any:
    """The configuration of the checkpoints."""
    from transformers import BertConfig

    return BertConfig(
        num_hidden_layers=options.layers, hidden_size=options.hidden, intermediate_size=4 * options.hidden,
        num_attention_heads=max(1, options.hidden // 64), vocab_size=options.vocabulary,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        architectures=["BertForSequenceClassification"],  # by which mergekit knows them
    )  # fmt: skip


def checkpoints(folder: Path, options: argparse.Namespace) -> list[Path]:
    """The start and the runs, as folders with `model.safetensors`; made once."""
    import torch
    from transformers import BertForSequenceClassification

    from ftbench.merging.source import Layout
    from ftbench.merging.writing import write_file

    config = bert(options)
    with torch.device("meta"):
        state = BertForSequenceClassification(config).state_dict()
    layout: Layout = {name: (tuple(tensor.shape), "F32") for name, tensor in state.items()}
    places = []
    for number in range(options.models + 1):
        place = folder / ("start" if number == 0 else f"run{number}")
        place.mkdir()
        config.save_pretrained(place)
        # drawn once and repeated: what matters here is how many numbers there are, and that models differ
        drawn = torch.randn(1 << 22, generator=torch.Generator().manual_seed(number))
        drawn *= 0.02 if number == 0 else 0.021

        def make(name: str, drawn: torch.Tensor = drawn) -> torch.Tensor:
            count = math.prod(layout[name][0])
            return drawn.repeat(-(-count // len(drawn)))[:count].reshape(layout[name][0])

        write_file(place / "model.safetensors", layout, make)
        places.append(place)
    return places


def read(places: list[Path]) -> float:
    """Seconds to read all bytes of the runs' files once, a mebibyte at a time."""
    buffer = bytearray(1 << 20)
    started = time.perf_counter()
    for place in places:
        with (place / "model.safetensors").open("rb", buffering=0) as handle:
            while handle.readinto(buffer):
                pass
    return time.perf_counter() - started


def forget(places: list[Path]) -> None:
    """Ask the system to drop the files from its cache, so that the next reading is one from the disk."""
    for place in places:
        with (place / "model.safetensors").open("rb") as handle:
            os.fsync(handle.fileno())
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Watch:
    """Wall and processor seconds of a block, and its highest anonymous memory above what there was before."""

    def __enter__(self) -> Watch:
        from ftbench.provenance import anonymous_bytes

        self.before = anonymous_bytes() or 0
        self.peak, self.done = self.before, threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def _sample(self) -> None:
        from ftbench.provenance import anonymous_bytes

        while not self.done.is_set():
            self.peak = max(self.peak, anonymous_bytes() or 0)
            self.done.wait(0.002)

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        self.done.set()
        self.thread.join()

    @property
    def found(self) -> dict[str, float]:
        return {"wall": self.wall, "cpu": self.cpu, "bytes": float(self.peak - self.before)}


def merge(name: str, places: list[Path], options: argparse.Namespace) -> dict[str, float]:
    """One recipe in this process; `name` is a recipe, with `:float32` for sums in that format."""
    import numpy as np
    import torch

    from ftbench.merging.source import open_ingredient
    from ftbench.merging.writing import SHARD_BYTES, write_folder
    from ftbench.plugins import plugin
    from ftbench.soups.base import Candidate, Kitchen
    from ftbench.soups.laboratory import Laboratory
    from ftbench.training.examples import Encoded

    torch.set_num_threads(options.threads)
    recipe, _, kind = name.partition(":")
    generator = np.random.default_rng(0)
    rows = 8
    ids = [generator.integers(5, options.vocabulary, 16) for _ in range(rows)]
    data = Encoded(ids, None, np.arange(rows) % 2, np.full(rows, 16), 0)
    start, *runs = places

    def build() -> torch.nn.Module:  # transformers is imported only where a model is needed
        from transformers import BertForSequenceClassification

        with torch.device("meta"):
            empty = BertForSequenceClassification(bert(options))
        model: torch.nn.Module = empty.to_empty(device="cpu")
        for key, buffer in model.named_buffers():
            buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape) if "position" in key else buffer.zero_())
        return model

    factory = plugin("soups", recipe).factory
    settings = {**SINGLE.get(recipe, {})}
    if recipe == "learned":
        settings = {"epochs": 1, "batch_size": 4}
    if recipe == "fisher":
        settings = {"examples": 2}
    with tempfile.TemporaryDirectory(dir=options.folder) as out, ExitStack() as stack, Watch() as watch:
        sources = {place.name: stack.enter_context(open_ingredient(place)) for place in runs}
        laboratory = Laboratory(
            build=build, data=data, sources=sources, kind="classification", labels=LABELS, metric="accuracy",
            work=Path(out) / "work", start=stack.enter_context(open_ingredient(start)),
            accumulate=getattr(torch, kind or "float64"),
        )  # fmt: skip
        candidates = [Candidate(run, source.file, 0.5) for run, source in sources.items()]
        kitchen = Kitchen(candidates, laboratory.score, laboratory.judge, laboratory)
        decision = factory(factory.Config.model_validate(settings)).decide(kitchen)
        merger = laboratory.merger(laboratory.rule_of(decision))
        merger.sources = {run: sources[run] for run in decision.weights}
        write_folder(Path(out), merger.layout, merger.make, bound=options.shard_bytes or SHARD_BYTES)
    return watch.found


def by_mergekit(name: str, places: list[Path], options: argparse.Namespace) -> dict[str, float]:
    """The same merge by mergekit, in this process."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    start, *runs = places
    config: dict[str, Any] = {
        "models": [{"model": str(place), "parameters": {"weight": 1.0}} for place in runs], "dtype": "float32",
        **MERGEKIT[name],
    }  # fmt: skip
    if name != "uniform":
        config["base_model"] = str(start)
    with tempfile.TemporaryDirectory(dir=options.folder) as out, Watch() as watch:
        run_merge(
            MergeConfiguration.model_validate(config),
            out_path=out,
            options=MergeOptions(copy_tokenizer=False, quiet=True),
        )
    return watch.found


def apart(what: str, name: str, folder: Path, arguments: list[str]) -> dict[str, float]:
    """Run one merge in a process of its own and take its figures from its last line."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments, "--child", f"{what}={name}", "--made", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{what} {name} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def rivals() -> list[str]:
    """What mergekit can do beside us, where it is installed."""
    from importlib.util import find_spec

    return list(MERGEKIT) if find_spec("mergekit") else []


def measure(folder: Path, options: argparse.Namespace, arguments: list[str]) -> None:
    places = checkpoints(folder, options)
    size = (places[0] / "model.safetensors").stat().st_size
    runs = places[1:]
    print(
        f"{len(runs)} checkpoints of {size / 1e6:.0f} MB; {'from the disk' if options.cold else 'from the page cache'}"
    )
    jobs: list[tuple[str, str]] = [("merge", name) for name in options.recipes]
    jobs += [("mergekit", name) for name in rivals() if name in options.recipes]
    times: dict[str, list[dict[str, float]]] = {}
    reading: list[float] = []
    prepare: Callable[[list[Path]], Any] = forget if options.cold else read
    for _ in range(options.rounds):
        prepare(places)
        reading.append(read(runs))
        for what, name in jobs:
            prepare(places)
            times.setdefault(name if what == "merge" else f"mergekit {name}", []).append(
                apart(what, name, folder, arguments)
            )
    base = statistics.median(reading)
    rows, result = [], {}
    for name, found in times.items():
        wall, cpu = (statistics.median(one[key] for one in found) for key in ("wall", "cpu"))
        memory = max(one["bytes"] for one in found) / size
        rows.append((name, wall, cpu, wall / base, memory))
        result[name] = {"seconds": wall, "cpu_seconds": cpu, "to_reading": wall / base, "models_of_memory": memory}
    print(table(("recipe", "seconds", "cpu s", "/ reading", "models of memory"), rows))
    print(f"reading all files: {base:.2f} s; aims: uniform 1.2 of reading, 1.15 models; others but learned 2 models")
    finish(
        NAME,
        {"models": len(runs), "model_bytes": size, "cold": options.cold, "threads": options.threads,
         "reading_seconds": base, "mergekit": bool(rivals()), "recipes": result},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10, help="checkpoints that are merged")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the files are made")
    parser.add_argument("--cold", action="store_true", help="drop the files from the page cache before each reading")
    parser.add_argument("--shard-bytes", type=int, default=0, help="write shards of this size; 0: as transformers")
    parser.add_argument("--recipes", nargs="+", help="default: all, and uniform with sums in float32")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--made", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(options.threads))
    if options.child:
        what, _, name = options.child.partition("=")
        places = [options.made / "start", *(options.made / f"run{number}" for number in range(1, options.models + 1))]
        found = (merge if what == "merge" else by_mergekit)(name, places, options)
        print(json.dumps(found))
        return
    if not options.recipes:
        from ftbench.plugins import plugins

        options.recipes = [*plugins("soups"), "uniform:float32"]
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="soups-") as folder:
        measure(Path(folder), options, sys.argv[1:])


if __name__ == "__main__":
    main()
