"""Step time and peak memory of every method against vanilla, beside the time that its counted passes predict.

Each method trains in a process of its own; the parent lets them take one step each in turn, so that a noisy machine
hits all alike, and every step is compared with vanilla's step of the same round. Weights and rows are random, which
changes no time. What a pass costs on this machine, where a backward pass need not take as long as two forward passes,
is measured in the same rounds; a method's counts of passes times that are its prediction. The sizes are those of the
small studies: what a method does with each weight costs a larger share of a smaller batch. Run by hand; only ratios
within one run mean anything.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from materials import finish, table
from random_training import numbered, pass_in_turns, random_model, random_prior, random_rows
from taking_turns import Racer, another_turn, race

NAME = "method_cost"
PLANNED = 200  # steps that the methods are told of: stages that are shares of a run then last a few steps
BASELINE = "vanilla"
WITHIN = 0.1  # of the prediction: what is aimed at


class EnoughStepsError(Exception):
    """The asked-for steps are done."""


def watchers(begin: Callable[[], None], end: Callable[[], None]) -> tuple[Any, Any]:
    """Two methods that do nothing but call: one for the front of the list and one for its end."""
    from ftbench.training.method import Method

    class Front(Method):
        """Tells that a step begins, before the hooks of the method that is measured."""

        name = "front"

        def begin_passes(self, context: Any) -> None:
            begin()

    class Back(Method):
        """Tells that a step has ended, behind the hooks of the method that is measured."""

        name = "back"

        def after_step(self, context: Any) -> None:
            end()

    return Front(Front.Config()), Back(Back.Config())


def train_in_turns(name: str, pipe: Connection, options: argparse.Namespace) -> None:
    """One process: train with a method at its defaults, a step for each word from the parent."""
    import torch

    from ftbench.config.study import Training
    from ftbench.plugins import plugin
    from ftbench.training.batches import EpochBatches
    from ftbench.training.inference import device
    from ftbench.training.job import Job
    from ftbench.training.loop import train
    from ftbench.training.method import Context
    from ftbench.training.weights import plain_state

    begun = [0.0, 0.0]

    def begin() -> None:
        if not another_turn(pipe):
            raise EnoughStepsError
        begun[:] = time.perf_counter(), time.process_time()

    def end() -> None:
        if place.type == "cuda":
            torch.cuda.synchronize()
        pipe.send((time.perf_counter() - begun[0], time.process_time() - begun[1]))

    try:
        torch.set_num_threads(options.threads)
        place = device()
        training = Training(
            steps=PLANNED, batch_size=options.batch_size, evaluations=0, max_length=options.tokens,
            precision=options.precision, weight_decay=0.0,  # some methods are defined without it
        )  # fmt: skip
        factory = plugin("methods", name).factory
        config = factory.Config()
        if reasons := factory.check(config, training, "classification", []):
            raise ValueError("; ".join(reasons))
        if factory.uses(config):
            raise ValueError("it works on texts, and the rows here are numbers")
        front, back = watchers(begin, end)
        methods = [front, factory(config), back]
        context = Context(random_model(options).to(place), training, "classification", 0)
        if factory.wants_prior(config):
            context.prior = random_prior(context.model, options)
        rows = methods[1].examples(random_rows(options, 4 * options.batch_size), context)
        for method in methods:
            method.prepare_model(context)
        if methods[1].needs_initial:
            start = plain_state(context.model)
            context.initial = {key: value.clone().to(place) for key, value in start.items()}
        batches = EpochBatches(numbered(rows), methods[1].new_rows(options.batch_size), 1, "length", 0, place)
        train(Job(context, methods, batches, PLANNED, say=lambda _: None))
    except EnoughStepsError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if place.type == "cuda":
            peak = torch.cuda.max_memory_allocated()
        pipe.send(peak / 2**20)
    except Exception as error:  # noqa: BLE001, told by the parent
        pipe.send(f"{type(error).__name__}: {error}")


def predicted(cost: Any, passes: Racer, plain: Racer, tokens: int) -> float:
    """The ratio to vanilla that a method's count of passes says, each at its measured time; the rest as vanilla's."""
    forward, backward, frozen = (statistics.median(one) for one in zip(*passes.times, strict=True))
    whole = statistics.median(wall for wall, *_ in plain.times)
    rest = max(0.0, whole - forward - backward)
    counted = cost.forward * forward + cost.backward * backward + cost.frozen_backward * frozen
    return float((counted * (tokens + cost.tokens) / tokens + rest) / (forward + backward + rest))


def measure(names: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Race the methods, so many at once that memory suffices, each group with a vanilla of its own; as printed."""
    from ftbench.plugins import plugin

    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    shares = []
    for first in range(0, len(names), options.at_once):
        passes = Racer("passes", options, pass_in_turns)
        plain, *racers = [
            Racer(name, options, train_in_turns) for name in [BASELINE, *names[first : first + options.at_once]]
        ]
        race([passes, plain, *racers], options)
        for one in (passes, plain):
            if one.failure is not None:
                raise SystemExit(f"{one.name}: {one.failure}")
        shares.append([statistics.median(one[part] / sum(one[:2]) for one in passes.times) for part in range(3)])
        failed |= {racer.name: racer.failure for racer in racers if racer.failure is not None}
        for racer in [racer for racer in [plain, *racers] if racer.failure is None]:
            pairs = list(zip(racer.times, plain.times, strict=True))
            ratios = [statistics.median(one[kind] / other[kind] for one, other in pairs) for kind in (0, 1)]
            cost = plugin("methods", racer.name).factory.cost
            expected = predicted(cost, passes, plain, options.tokens)
            found[racer.name] = {
                "seconds": statistics.median(wall for wall, *_ in racer.times),
                "ratio": ratios[0],
                "cpu_ratio": ratios[1],
                "declared": cost.time,
                "predicted": expected,
                "ratio_to_predicted": ratios[0] / expected,
                "peak_mib": racer.peak,
                "extra_mib": racer.peak - plain.peak,
            }
        print(f"{min(first + options.at_once, len(names))} of {len(names)} methods", flush=True)
    means = map(statistics.mean, zip(*shares, strict=True))
    prices = dict(zip(("forward", "backward", "frozen_backward"), means, strict=True))
    return {"passes": prices, "methods": found, "not_measured": failed}


def show(result: dict[str, Any]) -> None:
    """The table, dearest method first, and what could not be measured."""
    keys = ("seconds", "ratio", "cpu_ratio", "declared", "predicted", "ratio_to_predicted", "peak_mib", "extra_mib")
    near = [one for one in result["methods"].values() if abs(one["ratio_to_predicted"] - 1) <= WITHIN]
    rows = sorted(result["methods"].items(), key=lambda item: -item[1]["ratio"])
    header = (
        "method",
        "s a step",
        "x vanilla",
        "by cpu",
        "declared",
        "predicted",
        "x predicted",
        "peak MiB",
        "beyond vanilla",
    )
    print(table(header, [(name, *(one[key] for key in keys)) for name, one in rows]))
    told = ", ".join(f"{name.replace('_', ' ')} {share:.2f}" for name, share in result["passes"].items())
    print(f"shares of a forward and a backward pass: {told}")
    print(f"{len(near)} of {len(rows)} within {WITHIN:.0%} of what the passes predict")
    for name, reason in result["not_measured"].items():
        print(f"not measured: {name}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", help="methods to measure beside vanilla; all by default")
    parser.add_argument("--rounds", type=int, default=10, help="measured steps of each method")
    parser.add_argument("--warmup", type=int, default=2, help="steps before those")
    parser.add_argument("--at-once", type=int, default=9, help="methods in memory at a time, beside vanilla")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128, help="length of every row")
    parser.add_argument("--hidden", type=int, default=384, help="width of the model")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--words", type=int, default=2000, help="size of the vocabulary")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()

    # waiting processes must not spin
    os.environ.update(OMP_NUM_THREADS=str(options.threads), OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    import torch  # noqa: F401, once for all processes, which are forks
    import transformers.models.bert.modeling_bert  # noqa: F401

    from ftbench.plugins import plugins

    names = [name for name in options.methods or plugins("methods") if name != BASELINE]
    result = measure(names, options)
    show(result)
    sizes = {key: getattr(options, key) for key in ("batch_size", "tokens", "hidden", "layers", "threads", "rounds")}
    finish(NAME, {**sizes, **result})


if __name__ == "__main__":
    main()
