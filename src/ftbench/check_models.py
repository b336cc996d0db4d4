"""Checks of a study's methods against its models, as far as the models' configurations are on this machine.

`ftbench check` calls it behind the other checks. The workflow does not: building a module tree loads torch and
transformers, which every start of Snakemake would wait for. A run refuses such a model too, before its first step.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ftbench.check_methods import asked_settings
from ftbench.config.errors import FtbenchError
from ftbench.config.load import Catalogue, LoadedStudy
from ftbench.config.problems import Problems
from ftbench.methods.base import Method
from ftbench.resolve import Resolver

if TYPE_CHECKING:
    import torch


def model_problems(loaded: LoadedStudy, catalogue: Catalogue) -> list[str]:
    """What methods of a study without other problems refuse of its models, one problem a line."""
    found, study = Problems(loaded), loaded.study
    resolver = Resolver(study, catalogue)
    built = cache(lambda name: _model(catalogue, name))
    first, *_ = study.tasks
    for method in study.methods:
        for asked in asked_settings(found, resolver, first, method):
            for factory, config in zip(asked.classes, asked.configs, strict=True):
                if factory.refuse_model is Method.refuse_model:
                    continue
                for name in study.models:
                    if (model := built(name)) is None:
                        continue
                    try:
                        factory(config).refuse_model(model)
                    except FtbenchError as error:
                        found.lines.append(f"{loaded.file}: key `{asked.place}`, model `{name}`: {error}")
    return list(dict.fromkeys(found.lines))


def _model(catalogue: Catalogue, name: str) -> torch.nn.Module | None:
    """The module tree of a model entry; None where its configuration is not on this machine yet."""
    from ftbench.architectures import built_in_configuration, entry_configuration, without_weights

    entry = catalogue.model(name)
    if entry.built_in is not None:  # not the snapshot of an earlier study, whose settings may be others
        return without_weights(built_in_configuration(entry.built_in))
    try:
        return without_weights(entry_configuration(name, entry)[0])
    except FtbenchError:  # `base` brings it, or says why it cannot
        return None
