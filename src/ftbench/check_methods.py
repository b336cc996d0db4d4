"""Checks of a study's methods: their settings, companions, lengths, and what they want of the prior task.

Called by `check.py`, with the problems of the rest of the study. Nothing here looks at a model: `check_models.py` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ftbench.check_prior import check_prior_labels, prior_facts
from ftbench.config.errors import nearest
from ftbench.config.problems import Problems
from ftbench.config.study import Training
from ftbench.methods.base import Method
from ftbench.plugins import plugin
from ftbench.resolve import Resolver


@dataclass(frozen=True)
class Asked:
    """One setting of a method: where it stands in the study, its plug-ins with their settings, and the training's."""

    place: str
    classes: list[type[Any]]
    configs: list[Any]
    training: Training


def check_method(found: Problems, resolver: Resolver, method: str) -> None:
    """Problems of one method of the study under all of its variants and trials."""
    study = resolver.study
    entry = study.entry(method)
    names = entry.use or [method]
    key = f"methods.{method}"
    factories = [found.catch(partial(plugin, "methods", name), key) for name in names]
    if not all(factories):
        return
    classes = [factory.factory for factory in factories]
    forms = {factory.saves for factory in classes} - {"model"}
    if len(forms) > 1:
        found.add(key, f"methods of one run that save {sorted(forms)}", "one form of what is saved")
    for owned in ("gradients", "criterion"):
        owners = [factory.name for factory in classes if getattr(factory, f"owns_{owned}")]
        if len(owners) > 1:
            found.add(key, f"{owners}, which all own the {owned}", "at most one such method")
    if study.tunes(method) and {**study.training.model_dump(), **entry.training}["evaluations"] == 0:
        found.add("tuning", f"`{method}` with `training.evaluations: 0`", "select scores to choose by")
    if len(names) > 1:  # each reads only what stands under its own name
        settings = {key for variant in study.variants(method).values() for key in variant.settings}
        for strange in sorted(settings - set(names)):
            what = f"`{strange}`, which is none of the methods under `use`"
            found.add(f"{key}.settings", what, fix=nearest(strange, names))
    for task in study.tasks:
        for asked in asked_settings(found, resolver, task, method):
            _check_setting(found, resolver, task, asked)


def asked_settings(found: Problems, resolver: Resolver, task: str, method: str) -> Iterator[Asked]:
    """Every setting that a study asks of a method; those that cannot be resolved are added to the problems."""
    study = resolver.study
    entry = study.entry(method)
    classes = [plugin("methods", name).factory for name in entry.use or [method]]

    def asked(place: str, plugs: Sequence[Any], training: Training) -> Asked:
        configs = [factory.Config.model_validate(plug.config) for plug, factory in zip(plugs, classes, strict=True)]
        return Asked(place, classes, configs, training)

    for variant in study.variants(method):
        resolved = found.catch(partial(resolver.method, task, method, variant))
        if resolved is not None:
            yield asked(f"methods.{method}.variants.{variant}" if entry.variants else f"methods.{method}", *resolved)
    if study.tunes(method):
        for trial, setting in (found.catch(partial(resolver.tried, method)) or {}).items():
            yield asked(f"tuning: {method} {trial}", setting.methods, setting.training)


def _check_setting(found: Problems, resolver: Resolver, task: str, asked: Asked) -> None:
    """Ask each plug-in of one setting whether it goes with the task, the others, the run's length and the prior."""
    study, known = resolver.study, resolver.catalogue.datasets
    dataset = study.tasks[task].train.dataset
    kind = resolver.space(task)[0] if dataset in known else "classification"
    lengths = run_length(resolver, task, asked)
    stated = _rows(resolver, task)
    if asked.training.rows is not None and stated is not None and asked.training.rows > stated:
        what = f"`training.rows: {asked.training.rows}`"
        found.add(asked.place, what, f"at most the {stated} training rows of the task `{task}`")
    for factory, config in zip(asked.classes, asked.configs, strict=True):
        others = [other for other in asked.classes if other is not factory]
        reasons = list(factory.check(config, asked.training, kind, others))
        if lengths is not None:
            reasons += factory.check_steps(config, *lengths)
        if factory.wants_prior(config) and study.prior is None:
            found.add(asked.place, f"`{factory.name}` in a study without `prior`", "a prior task to take rows from")
        elif factory.wants_prior(config) and study.prior and study.prior.dataset in known:
            reasons += factory.check_prior(config, prior_facts(resolver), asked.training)
            if factory.wants_prior_labels(config) and dataset in known:
                check_prior_labels(found, resolver, task, factory.name, asked.place)
        for reason in reasons:
            found.add(asked.place, reason)


def run_length(resolver: Resolver, task: str, asked: Asked) -> tuple[int, int | None] | None:
    """Optimiser steps of a run and of an epoch, at most: what the settings and the stated rows of the data set allow.
    None where nothing states them; no steps of an epoch where they are not known, or a method changes its batches."""
    from ftbench.training.optimization import total_steps

    training, rows = asked.training, _rows(resolver, task)
    rows = rows if training.rows is None else min(training.rows, rows or training.rows)
    if rows is None:
        return None if training.steps is None else (training.steps, None)
    own = all(factory.new_rows is Method.new_rows for factory in asked.classes)
    return total_steps(training, rows), math.ceil(rows / training.batch_size) if own else None


def _rows(resolver: Resolver, task: str) -> int | None:
    """Training rows of a task, at most; None where neither the study nor the entry of the data set states them."""
    train = resolver.study.tasks[task].train
    if train.rows is not None or train.dataset not in resolver.catalogue.datasets:
        return train.rows
    split = resolver.catalogue.dataset(train.dataset).splits.get(train.split)
    stated = [] if split is None else [count for count in (split.rows, split.local_rows) if count is not None]
    return max(stated, default=None)
