"""Checks of a study's prior task: its splits, its head, what it is asked, and rows that it must not share.

Called by `check.py`, with the problems of the rest of the study.
"""

from __future__ import annotations

from ftbench.config.dataset import DatasetEntry
from ftbench.config.errors import nearest
from ftbench.config.prior import Prior
from ftbench.config.problems import Problems
from ftbench.config.study import Study
from ftbench.methods.base import PriorFacts
from ftbench.plugins import plugin_or_none
from ftbench.resolve import Resolver


def check_prior(found: Problems, resolver: Resolver) -> None:
    """Problems of the prior task of a study whose data sets are all known."""
    study, prior = resolver.study, resolver.study.prior
    assert prior is not None
    found.catch(resolver.prior_training)
    entry = resolver.catalogue.dataset(prior.dataset)
    for key, split in (("pool", prior.pool), ("evaluation", prior.evaluation)):
        if split not in entry.splits:
            found.add(f"prior.{key}", f"the unknown split `{split}`", fix=nearest(split, entry.splits))
    if prior.pool == prior.evaluation:
        found.add("prior.evaluation", f"`{prior.pool}`, the pool itself", "rows that are never trained on")
    for task, wanted in study.tasks.items():
        for name, item in wanted.evaluate.items():
            if (item.dataset, item.split) == (prior.dataset, prior.pool):
                found.add(
                    "prior.pool",
                    f"`{prior.pool}` of `{prior.dataset}`, which `tasks.{task}.evaluate.{name}` evaluates",
                    "rows that no set evaluates: the pool is trained on",
                )
        for place, used in (("train", wanted.train.split), ("select", wanted.select.split)):
            if (wanted.train.dataset, used) == (prior.dataset, prior.evaluation):
                found.add(
                    "prior.evaluation",
                    f"`{prior.evaluation}` of `{prior.dataset}`, the split of `tasks.{task}.{place}`",
                    "rows that no run is trained or selected on",
                )
        if (wanted.train.dataset, wanted.select.split) == (prior.dataset, prior.pool):
            found.add(
                "prior.pool",
                f"`{prior.pool}` of `{prior.dataset}`, which `tasks.{task}.select` selects on",
                "rows that nothing is selected on: the pool is trained on",
            )
        labels = resolver.space(task)[1]
        if prior.head == "shared" and labels != list(entry.labels):
            found.add(
                "prior.head",
                f"`shared` with the labels {list(entry.labels)} of the prior task and {labels} of `{task}`",
                "the same labels in the same order",
                "Use `head: separate`, or a data set with these labels.",
            )
    _check_kind(found, study, prior, entry)


def prior_facts(resolver: Resolver) -> PriorFacts:
    """What methods are told of the prior task of a study whose prior set is known."""
    prior, entry = resolver.study.prior, resolver.prior_entry
    assert prior is not None
    assert entry is not None
    split = entry.splits.get(prior.pool)
    stated = (split.rows, split.local_rows) if split else ()
    rows = prior.rows or max((count for count in stated if count is not None), default=None)
    local = entry.local.fields.aux if entry.local and entry.local.fields else ()
    aux = ("length", *(("label",) if entry.labels else ()), *entry.fields.aux, *local)
    return PriorFacts(entry.kind, rows, prior.clusters is not None, tuple(dict.fromkeys(aux)))


def check_prior_labels(found: Problems, resolver: Resolver, task: str, name: str, place: str) -> None:
    """A method that judges the task's rows with the prior task's head needs the task's labels there."""
    entry, labels = resolver.prior_entry, resolver.space(task)[1]
    if entry is None or (entry.kind == resolver.space(task)[0] and list(entry.labels) == labels):
        return
    has = f"the labels {list(entry.labels)}" if entry.labels else f"no labels ({entry.kind})"
    found.add(
        place,
        f"`{name}` with the prior task's head, which has {has}, and {labels} of `{task}`",
        "the same labels in the same order; there is no map for a head",
        "Use `head: linear_probe`, or a prior set with these labels.",
    )


def _check_kind(found: Problems, study: Study, prior: Prior, entry: DatasetEntry) -> None:
    """Plain text needs an objective and is taken as the checkpoint knows it; labels need neither."""
    where = f"`{prior.dataset}`, a set "
    if entry.kind != "text":
        if prior.objective:
            found.add("prior.objective", f"`{prior.objective}` with {where}with labels", "null, or a set of plain text")
        return
    if prior.objective is None:
        expected = "`prior.objective: masked` or `causal`, what a language model is asked for, or a labelled set"
        found.add("prior.dataset", f"{where}without labels", expected)
    elif prior.trained == "graph":
        found.add(
            "prior.trained",
            f"`graph` with {where}of plain text",
            "`checkpoint`: text is what the base model has learnt",
        )
    for method in study.methods:
        for name in study.entry(method).use or [method]:
            if (one := plugin_or_none("methods", name)) and one.factory.adds_positions:
                reason = (
                    f"`{method}` with {where}of plain text: `{name}` adds positions, and words are no longer in place"
                )
                found.add("methods", reason, "other methods, or a labelled prior set")
    if prior.clusters:
        found.add("prior.clusters", f"{prior.clusters} with {where}of plain text", "null")
