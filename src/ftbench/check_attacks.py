"""Checks of a study's attacks against the tasks, models, plug-ins and local files that they name.

`ftbench.check` adds these problems to its own, so that nothing is trained for an attack that cannot run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftbench import matrix
from ftbench.config.attack import AttackEntry
from ftbench.config.errors import FtbenchError, nearest, problem
from ftbench.data.lexicon import lexicon_path
from ftbench.plugins import plugin
from ftbench.resolve import Resolver


def attack_problems(file: Path, resolver: Resolver, known: bool) -> list[str]:
    """Every problem of every attack, a line each. `known`: all data sets and models of the study exist."""
    lines: list[str] = []
    for name, entry in resolver.study.attacks.items():
        key = f"attacks.{name}"
        lines += [problem(file=file, key=f"{key}.{place}", **said) for place, said in _names(resolver, entry)]
        try:
            use, config = resolver.attack(name)
        except FtbenchError as error:
            told = [line.removeprefix("study: ") for line in str(error).splitlines()]
            lines += [
                f"{file}: {line}" if line.startswith("key `") else f"{file}: key `{key}`: {line}" for line in told
            ]
            continue
        factory = plugin("attacks", use).factory
        settings = factory.Config.model_validate(config)
        found = [*_reads(resolver, factory, settings)]
        if not factory.draws and len(entry.seeds or [0]) > 1:
            said = {"found": f"{entry.seeds}, and `{use}`, which draws nothing at random", "expected": "one seed"}
            found.append(("seeds", said))
        if not list(matrix.attacks(resolver.study, name)):
            found.append(("kinds", {"found": "no artifact that is attacked", "expected": "runs or soups of the study"}))
        if known:
            found += [*_tasks(resolver, name, entry, factory, settings)]
        lines += [problem(file=file, key=f"{key}.{place}", **said) for place, said in found]
    return lines


Said = tuple[str, dict[str, Any]]  # key below the attack's, and what `problem` is told


def _names(resolver: Resolver, entry: AttackEntry) -> Iterator[Said]:
    """Names of the entry that are none of the study's."""
    study = resolver.study
    sets = [name for task in entry.tasks or study.tasks if task in study.tasks for name in study.tasks[task].evaluate]
    groups: tuple[tuple[str, list[str] | None, list[str]], ...] = (
        ("tasks", entry.tasks, list(study.tasks)),
        ("methods", entry.methods, list(study.methods)),
        ("sets", entry.sets, sets),
        ("run_seeds", [str(seed) for seed in entry.run_seeds or []], [str(seed) for seed in study.seeds]),
    )
    for key, given, there in groups:
        for name in given or []:
            if name not in there:
                yield key, {"found": f"`{name}`, which the study does not have", "fix": nearest(name, there)}


def _reads(resolver: Resolver, factory: type[Any], settings: Any) -> Iterator[Said]:
    """Models and files that the attack reads and that are not there."""
    models = resolver.catalogue.models
    for name in factory.models(settings):
        if name not in models:
            yield "settings", {"found": f"the unknown model `{name}`", "fix": nearest(name, models)}
            continue
        for victim in resolver.study.models:
            apart = victim in models and victim != name and (models[name].built_in or models[victim].built_in)
            if factory.same_tokenizer and apart:
                yield (
                    "settings",
                    {
                        "found": f"the model `{name}`, whose tokenizer is not that of `{victim}`",
                        "expected": "a model with the same tokenizer: the attack exchanges tokens",
                    },
                )
    for key, path in factory.local_files(settings).items():
        place = f"settings.{key}"
        if path is None:
            fix = "Nothing is downloaded for an attack; docs/how-to/words-for-attacks.md says what to give."
            yield place, {"found": "nothing", "expected": "the path of a local file", "fix": fix}
            continue
        try:
            lexicon_path(path, place)
        except FtbenchError:
            expected = "a local file, as a path or below data_root"
            yield place, {"found": f"`{path}`, which is not there", "expected": expected}


def _tasks(resolver: Resolver, name: str, entry: AttackEntry, factory: type[Any], settings: Any) -> Iterator[Said]:
    """Tasks and sets that the attack cannot be tried on."""
    study, catalogue = resolver.study, resolver.catalogue
    for task in entry.tasks or study.tasks:
        if task not in study.tasks:
            continue
        kind, labels = resolver.space(task)
        if kind != "classification":
            yield (
                "tasks",
                {
                    "found": f"`{task}`, a {kind}",
                    "expected": "classifications: an attack succeeds when the label changes",
                    "fix": f"Name the tasks to attack under `attacks.{name}.tasks`.",
                },
            )
            continue
        sets = matrix.attacked_sets(study, name, task)
        if not sets:
            yield "sets", {"found": f"no set of the task `{task}` to attack", "expected": "names of evaluation sets"}
        for item in sets:
            dataset = catalogue.dataset(study.tasks[task].evaluate[item].dataset)
            if set(dataset.labels) != set(labels):
                yield (
                    "sets",
                    {
                        "found": f"`{item}`, whose labels {list(dataset.labels)} are read through a map",
                        "expected": f"a set with the labels of the task `{task}`: {labels}",
                    },
                )
            if settings.text == "text_b" and dataset.fields.text_b is None:
                yield "settings.text", {"found": f"`text_b`, and `{item}`, which has one text", "expected": "`last`"}
        for reason in factory.check(settings, labels):
            yield "settings", {"found": reason}
