"""Checks of a study against everything it names; all problems are reported at once.

`ftbench check` prints them, and the plan refuses to build a graph while there is one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ftbench import matrix
from ftbench.check_attacks import attack_problems
from ftbench.check_detection import check_detection
from ftbench.check_methods import check_method
from ftbench.check_perturbations import check_perturbation
from ftbench.check_prior import check_prior
from ftbench.config.dataset import TRAINED_KINDS, Split
from ftbench.config.errors import FtbenchError, nearest
from ftbench.config.load import Catalogue, LoadedStudy
from ftbench.config.problems import Problems
from ftbench.config.study import Study
from ftbench.plugins import plugin, plugin_or_none, plugins
from ftbench.resolve import Resolver


def study_problems(loaded: LoadedStudy, catalogue: Catalogue) -> list[str]:
    """Every problem of a study, one a line; empty when it can run."""
    found, study = Problems(loaded), loaded.study
    resolver = Resolver(study, catalogue)
    known = True
    for key, kind, names in _names(study):
        if key and names not in getattr(catalogue, kind):
            found.add(key, f"the unknown {kind[:-1]} `{names}`", fix=nearest(names, getattr(catalogue, kind)))
            known = False
    for method in study.methods:
        check_method(found, resolver, method)
    _check_robustness(found, resolver)
    for family, soup in study.soups.items():
        if found.catch(partial(plugin, "soups", soup.recipe), f"soups.{family}.recipe"):
            _check_soup(found, study, family)
    for key, name, runs in study.families():
        if known and runs.over == "tasks":
            _check_task_family(found, resolver, f"{key}.{name}.over")
    for name, path in study.paths.items():
        for task, wanted in study.tasks.items():
            for eval_set in path.sets:
                labelled = [each for each, item in wanted.evaluate.items() if item.labelled]
                sets = ["select", *labelled, *([study.prior.name] if study.prior else [])]
                if study.prior and eval_set == study.prior.name and known and resolver.prior_is_text:
                    found.add(f"paths.{name}.sets", f"`{eval_set}`, a prior task of plain text", "a labelled one")
                if eval_set not in sets:
                    what = f"`{eval_set}`, which is no labelled set of the task `{task}`"
                    found.add(f"paths.{name}.sets", what, fix=nearest(eval_set, sets))
    for name in study.perturbations:
        check_perturbation(found, resolver, name, known)
    found.lines += [f"{loaded.file}: {line}" for line in _equal_soups(study)]
    found.lines += attack_problems(loaded.file, resolver, known)
    for task, wanted in study.tasks.items():
        named = [("select.metric", wanted.select.metric)] + [("metrics", metric) for metric in wanted.metrics]
        for key, metric in named:
            if metric is not None and plugin_or_none("metrics", metric) is None:
                found.add(
                    f"tasks.{task}.{key}",
                    f"the unknown metric `{metric}`",
                    fix=nearest(metric, plugins("metrics")),
                )
    if known:
        for task in study.tasks:
            _check_task(found, resolver, catalogue, task)
        for model in resolver.models():
            _check_corpus(found, catalogue, model)
        if study.detection:
            check_detection(found, resolver)
        if study.prior:
            check_prior(found, resolver)
    return list(dict.fromkeys(found.lines))


def check_study(loaded: LoadedStudy, catalogue: Catalogue) -> None:
    """Raise an `FtbenchError` with all problems of a study, if there is any."""
    lines = study_problems(loaded, catalogue)
    if lines:
        raise FtbenchError("\n".join(lines))


def _names(study: Any) -> list[tuple[str, str, str]]:
    """Every data set and model that a study names, with the key it stands under."""
    names = [(f"models.{index}", "models", model) for index, model in enumerate(study.models)]
    if study.shift.encoder:
        names.append(("shift.encoder", "models", study.shift.encoder))
    if study.detection and study.detection.likelihood:
        named = enumerate(study.detection.likelihood.models or [])
        names += [(f"detection.likelihood.models.{index}", "models", model) for index, model in named]
    for task, wanted in study.tasks.items():
        names.append((f"tasks.{task}.train.dataset", "datasets", wanted.train.dataset))
        names += [
            (f"tasks.{task}.evaluate.{name}.dataset", "datasets", item.dataset)
            for name, item in wanted.evaluate.items()
        ]
    names += [
        (f"absent_tasks.{name}.datasets", "datasets", dataset)
        for name, item in study.absent_tasks.items()
        for dataset in item.datasets
    ]
    if study.prior:
        names.append(("prior.dataset", "datasets", study.prior.dataset))
    return names


def _check_soup(found: Problems, study: Any, family: str) -> None:
    soup = study.soups[family]
    factory = plugin("soups", soup.recipe).factory
    from ftbench.config.strict import validated

    found.catch(partial(validated, factory.Config, soup.settings, "study", f"soups.{family}.settings"))
    for method in soup.methods or study.methods:
        for name in study.entry(method).use or [method]:
            reason = one.factory.unmergeable if (one := plugin_or_none("methods", name)) else ""
            if reason:
                expected = "methods whose runs are plain weights, under `methods` of the soup"
                found.add(f"soups.{family}", f"`{method}`, which cannot be averaged: {reason}", expected)
        for name, variant in study.variants(method).items():
            if {**study.training.model_dump(), **variant.training}.get("evaluations") == 0:
                found.add(
                    f"soups.{family}",
                    f"`{method}` ({name}) with `training.evaluations: 0`",
                    "select scores to choose by",
                )


def _check_task_family(found: Problems, resolver: Resolver, key: str) -> None:
    """Models of several tasks are mixed whole, heads included: the tasks must speak of the same labels."""
    spaces = {task: resolver.space(task) for task in resolver.study.tasks}
    (first, space), *others = spaces.items()
    for task, other in others:
        if other != space:
            found.add(key, f"`tasks` with `{first}` {space[1]} and `{task}` {other[1]}", "tasks with the same labels")


def _equal_soups(study: Study) -> list[str]:
    """Soups (or ensembles, or paths) whose names would fall together: `a-b` of method `c` and `a` of method `b-c`."""
    cells: dict[str, tuple[str | None, ...]] = {}
    lines = []
    for what, found in (("soups", matrix.soups), ("ensembles", matrix.ensembles), ("paths", matrix.lines)):
        for cell in found(study):
            parts = (cell.family, cell.method, cell.variant)
            other = cells.setdefault(cell.artifact, parts)
            if other != parts:
                lines.append(f"the {what} {other} and {parts} would both be named `{cell.name}`. Rename one of them.")
    return lines


def _check_robustness(found: Problems, resolver: Resolver) -> None:
    """The family of the trend is made of the study's methods, and the groups are in the data."""
    study = resolver.study
    known = [*study.methods, *(f"{method}/{variant}" for method in study.methods for variant in study.variants(method))]
    for name in study.robustness.family:
        if name not in known:
            found.add("robustness.family", f"`{name}`, no method or variant of the study", fix=nearest(name, known))
    named = {item.dataset for task in study.tasks.values() for item in task.evaluate.values()}
    entries = [resolver.catalogue.datasets[name] for name in named if name in resolver.catalogue.datasets]
    columns = {"label", *(column for entry in entries for column in entry.fields.aux)}
    for group in study.robustness.groups:
        if group not in columns:
            fix = nearest(group, columns)
            found.add("robustness.groups", f"`{group}`, which no evaluation set has among `fields.aux`", fix=fix)


def _check_corpus(found: Problems, catalogue: Catalogue, model: str) -> None:
    """A built-in model is pretrained on the split `train` of a data set of this catalogue."""
    built_in = catalogue.model(model).built_in
    if built_in is None:
        return
    key = f"models: {model}: built_in.corpus"
    if built_in.corpus not in catalogue.datasets:
        fix = nearest(built_in.corpus, catalogue.datasets)
        found.add(key, f"the unknown data set `{built_in.corpus}`", fix=fix)
    elif "train" not in catalogue.dataset(built_in.corpus).splits:
        found.add(key, f"`{built_in.corpus}`, a data set without a split `train`", "text to pretrain on")


def _check_task(found: Problems, resolver: Resolver, catalogue: Catalogue, task: str) -> None:
    wanted = resolver.study.tasks[task]
    train = catalogue.dataset(wanted.train.dataset)
    named = [("train.split", wanted.train.split, train)]
    if wanted.select.split:
        named.append(("select.split", wanted.select.split, train))
    named += [
        (f"evaluate.{name}.split", item.split, catalogue.dataset(item.dataset))
        for name, item in wanted.evaluate.items()
    ]
    for key, split, entry in named:
        if split not in entry.splits:
            found.add(f"tasks.{task}.{key}", f"the unknown split `{split}`", fix=nearest(split, entry.splits))
    if wanted.select.split == wanted.train.split:
        found.add(
            f"tasks.{task}.select.split",
            f"`{wanted.select.split}`, which is trained on",
            "another split, or `select.rows` to cut some off",
        )
    if train.kind not in TRAINED_KINDS:
        what = "a set without labels" if train.kind == "text" else f"a set of {train.kind}, which nothing here predicts"
        fix = "Name the task under `absent_tasks`, with the reason." if train.kind != "text" else None
        found.add(f"tasks.{task}.train.dataset", f"`{wanted.train.dataset}`, {what}", "a labelled set", fix)
        return
    used = {wanted.train.split, wanted.select.split}
    for name, item in wanted.evaluate.items():
        key, entry = f"tasks.{task}.evaluate.{name}", catalogue.dataset(item.dataset)
        if item.dataset == wanted.train.dataset and item.split in used:
            found.add(f"{key}.split", f"`{item.split}`, which is trained or selected on", "rows kept for evaluation")
        if not item.labelled:
            continue
        if entry.splits.get(item.split, Split()).out_of_scope_of:
            found.add(f"{key}.split", f"`{item.split}`, whose rows are out of scope", "`labelled: false` beside it")
        elif entry.kind != train.kind:
            found.add(
                f"{key}.dataset",
                f"`{item.dataset}`, a {entry.kind} set",
                f"a {train.kind} set like the task's",
            )
        elif set(entry.labels) != set(train.labels) and entry.map_from(list(train.labels)) is None:
            found.add(
                f"{key}.dataset",
                f"`{item.dataset}` with the labels {list(entry.labels)} and no map from the task's",
                f"the labels {list(train.labels)}",
                "Add a map under `maps` of the data set.",
            )
    for model in resolver.study.models:
        longest = catalogue.model(model).max_length
        if resolver.study.training.max_length > longest:
            found.add(
                "training.max_length",
                str(resolver.study.training.max_length),
                f"at most {longest}, what `{model}` takes",
            )
    for metric in [*wanted.metrics, *([wanted.select.metric] if wanted.select.metric else [])]:
        if (one := plugin_or_none("metrics", metric)) and train.kind not in one.factory.kinds:
            found.add(f"tasks.{task}.metrics", f"`{metric}`", f"a metric for {train.kind}")
