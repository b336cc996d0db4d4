"""Checks of a study's `detection`: its sets, its tasks, and whether its language models have a head.

Called by `check.py`, with the problems of the rest of the study. What a checkpoint on the hub holds is not known before
it is there; the stage `adapt` refuses the same.
"""

from __future__ import annotations

import json
import re
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ftbench import matrix
from ftbench.config.model import ModelEntry
from ftbench.config.problems import Problems
from ftbench.resolve import Resolver

# architectures whose checkpoints hold no language-model head
_HEADLESS = re.compile(r"(?<!LMHead)Model$|For(Sequence|Token)Classification$|ForQuestionAnswering$|ForMultipleChoice$")


def check_detection(found: Problems, resolver: Resolver) -> None:
    """Problems of the detection of a study whose data sets and models are all known."""
    study = resolver.study
    assert study.detection is not None
    for task in study.tasks:
        found.catch(partial(matrix.detection_sets, study, task))
        if resolver.space(task)[0] != "classification":
            found.add("detection", f"the {resolver.space(task)[0]} task `{task}`", "tasks of classification")
    wanted = study.detection.likelihood
    if wanted is None:
        return
    found.catch(resolver.language_training)
    for name in wanted.models or study.models:
        entry = resolver.catalogue.model(name)
        reason = _no_head(entry, wanted.objective)
        if reason:
            fix = "Name models that were saved with one under `detection.likelihood.models`."
            expected = f"a model with the head of a {wanted.objective} language model"
            found.add("detection.likelihood", f"`{name}`, {reason}", expected, fix)


def _no_head(entry: ModelEntry, objective: str) -> str:
    """Why a model has no such language-model head; empty where it has one or that is not known yet."""
    if entry.built_in:
        return "a model that is pretrained by masking words" if objective == "causal" else ""
    names = _architectures(entry)
    if not names:
        return ""
    if objective == "masked" and all(_HEADLESS.search(name) for name in names):
        return f"whose checkpoint was saved as {', '.join(names)}, without the head"
    if objective == "causal" and all(name.endswith("ForMaskedLM") for name in names):
        return f"whose checkpoint was saved as {', '.join(names)}, a masked language model"
    return ""


def _architectures(entry: ModelEntry) -> list[str]:
    """What the configuration file of a local checkpoint calls it; empty where there is none or it does not say."""
    try:
        if entry.package:
            folder = Path(str(distribution(entry.package).locate_file(entry.folder or "")))
        elif entry.path:
            folder = Path(entry.path)
        else:
            return []
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return [str(name) for name in content.get("architectures") or []]
    except (PackageNotFoundError, OSError, ValueError):
        return []  # that the files are not there is told by the stage `base`
