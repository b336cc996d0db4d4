"""Checks of the study key `perturbations`. `ftbench.check` calls them with its list of problems."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ftbench.config.errors import nearest
from ftbench.config.strict import validated
from ftbench.plugins import plugin
from ftbench.resolve import Resolver


class Problems(Protocol):
    """Collected problems of a study."""

    def add(self, key: str, found: str, expected: str | None = None, fix: str | None = None) -> None: ...

    def catch(self, function: Callable[[], Any], key: str | None = None) -> Any: ...


def check_perturbation(found: Problems, resolver: Resolver, name: str, known: bool) -> None:
    """The plug-in, its settings, and the sets that it edits; `known`: all data sets of the study are there."""
    key, study = f"perturbations.{name}", resolver.study
    entry = study.perturbations[name]
    plug = found.catch(partial(plugin, "perturbations", entry.plugin(name)), f"{key}.use" if entry.use else key)
    if plug is None:
        return
    config = found.catch(partial(validated, plug.factory.Config, entry.settings, "study", f"{key}.settings"))
    every = [name for task in study.tasks.values() for name, item in task.evaluate.items() if item.labelled]
    for eval_set in entry.sets or []:
        if eval_set not in every:
            found.add(
                f"{key}.sets", f"`{eval_set}`, which is no evaluation set with labels", fix=nearest(eval_set, every)
            )
    used = [(task, eval_set) for task in study.tasks for eval_set in resolver.perturbed_sets(task, entry)]
    if not used:
        found.add(f"{key}.sets", "no evaluation set with role `id` or `ood`", "sets to edit, under `sets`")
    for task, eval_set in used if known and config is not None else ():
        dataset = resolver.catalogue.dataset(study.tasks[task].evaluate[eval_set].dataset)
        for reason in plug.factory.obstacles(config, list(dataset.labels)):
            found.add(f"{key}.settings", f"{reason} (set `{eval_set}`)")
