"""The settings that a study tries for each method before its runs.

Draws are a function of (seed, key, number of the draw): two methods that search the same key meet the same
values, and a larger budget only adds settings. Imported by the resolver; it reads no results.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ftbench.config.errors import FtbenchError, nearest, problem
from ftbench.config.study import Study, Training, Variant
from ftbench.plugins import plugin

# settings of the training loop that may differ between runs whose predictions are compared
TUNABLE = ("learning_rate", "epochs", "steps", "batch_size", "weight_decay", "warmup_share", "schedule", "dropout",
           "clip_norm", "betas", "epsilon")  # fmt: skip
MOST_DRAWS = 10_000


def space(study: Study, method: str) -> dict[str, list[Any]]:
    """What a method is tuned over, by key: the study's own space for it, else the grids that its plug-ins declare,
    with the study's shared space for keys that neither names."""
    assert study.tuning is not None
    given = study.tuning.spaces.get(method)
    if given is not None:
        found = dict(given)
    else:
        names = study.entry(method).use or [method]
        found = {}
        for name in names:
            for key, values in plugin("methods", name).factory.search.items():
                head, _, rest = key.partition(".")
                nested = head == "settings" and len(names) > 1
                found[f"settings.{name}.{rest}" if nested else key] = list(values)
    return {**study.tuning.space, **found}


def trials(study: Study, method: str) -> dict[str, Variant]:
    """The settings tried for a method, by trial name (`t0`, `t1`, ...), merged with its entry.

    Raises an `FtbenchError` for an empty space, unknown keys, and a grid larger than the budget.
    """
    assert study.tuning is not None
    found, tuning = space(study, method), study.tuning
    _check(found, method, from_study=method in tuning.spaces)
    size = math.prod(len(values) for values in found.values())
    if tuning.draw == "grid" and size > tuning.n_variants:
        raise FtbenchError(
            problem(
                file="study",
                key="tuning.n_variants",
                found=f"{tuning.n_variants}, and a grid of {size} settings for `{method}`",
                expected="a budget that holds the grid",
                fix=f"Shrink `tuning.spaces.{method}`, or set `draw: random`.",
            )
        )
    draws = _grid(found) if tuning.draw == "grid" or size <= tuning.n_variants else _random(found, tuning.seed)
    chosen: list[dict[str, Any]] = []
    for draw in itertools.islice(draws, MOST_DRAWS):
        if draw not in chosen:
            chosen.append(draw)
        if len(chosen) == tuning.n_variants:
            break
    entry = study.entry(method)
    return {f"t{number}": _merged(entry, draw) for number, draw in enumerate(chosen)}


def _check(found: Mapping[str, Sequence[Any]], method: str, from_study: bool) -> None:
    place = f"tuning.spaces.{method}" if from_study else "tuning"
    if not found:
        raise FtbenchError(
            problem(
                file="study",
                key=place,
                found=f"nothing to tune `{method}` over: it declares no grid",
                expected="keys with values",
                fix="Add `tuning.space: {training.learning_rate: [...]}`, or a space for the method.",
            )
        )
    for key, values in found.items():
        head, _, rest = key.partition(".")
        if head not in ("settings", "training") or not rest:
            raise FtbenchError(
                problem(file="study", key=place, found=f"`{key}`", expected="`settings.KEY` or `training.KEY`")
            )
        if head == "training" and rest not in TUNABLE:
            fix = nearest(rest, TUNABLE) if rest not in Training.model_fields else None
            expected = f"one of {', '.join(TUNABLE)}"
            raise FtbenchError(problem(file="study", key=f"{place}.{key}", found="it", expected=expected, fix=fix))
        if not values:
            raise FtbenchError(problem(file="study", key=f"{place}.{key}", found="no value", expected="at least one"))


def _grid(found: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*found.values()):
        yield dict(zip(found, values, strict=True))


def _random(found: Mapping[str, Sequence[Any]], seed: int) -> Iterator[dict[str, Any]]:
    for number in itertools.count():
        yield {key: values[_drawn(seed, key, number) % len(values)] for key, values in found.items()}


def _drawn(seed: int, key: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/tuning/{key}/{number}".encode()).digest()[:8], "big")


def _merged(entry: Variant, draw: Mapping[str, Any]) -> Variant:
    """The entry's settings with the drawn values in their places."""
    content: dict[str, Any] = {"settings": _copied(entry.settings), "training": dict(entry.training)}
    for key, value in draw.items():
        *path, last = key.split(".")
        place = content
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return Variant(**content)


def _copied(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, dict) else value for key, value in settings.items()}
