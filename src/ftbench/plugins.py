"""Finding plug-ins: by folder inside this package, and by entry point in others.

A plug-in is a class derived from the base class of its kind, in a module of `ftbench/<kind>/` or in a module
that the entry-point group `ftbench.<kind>` names. There is no list to edit.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Any

from ftbench.config.errors import FtbenchError, nearest

KINDS = ("methods", "soups", "attacks", "perturbations", "metrics")


@dataclass(frozen=True)
class Plugin:
    """A plug-in class with the module that holds it (the module enters the source fingerprint)."""

    name: str
    kind: str
    module: str
    factory: type[Any]

    @property
    def summary(self) -> str:
        return str(self.factory.summary)


@cache
def _discovered(kind: str) -> dict[str, Plugin]:
    base = importlib.import_module(f"ftbench.{kind}.base").PLUGIN_BASE
    package = importlib.import_module(f"ftbench.{kind}")
    modules = [f"ftbench.{kind}.{item.name}" for item in pkgutil.iter_modules(package.__path__) if item.name != "base"]
    modules += [point.module for point in importlib.metadata.entry_points(group=f"ftbench.{kind}")]
    found: dict[str, Plugin] = {}
    for module in modules:
        classes: list[tuple[str, Any]] = inspect.getmembers(importlib.import_module(module), inspect.isclass)
        for _, value in classes:
            if value.__module__ != module or not issubclass(value, base) or "name" not in value.__dict__:
                continue
            if value.name in found:
                raise FtbenchError(
                    f"two plug-ins of kind {kind} are named `{value.name}`: "
                    f"in {found[value.name].module} and in {module}"
                )
            found[value.name] = Plugin(value.name, kind, module, value)
    return dict(sorted(found.items()))


def plugins(kind: str) -> dict[str, Plugin]:
    """Every plug-in of a kind (one of `KINDS`), by name."""
    return _discovered(kind)


def plugin(kind: str, name: str) -> Plugin:
    """One plug-in, or an `FtbenchError` that suggests the nearest name."""
    found = plugins(kind)
    if name not in found:
        raise FtbenchError(f"unknown {kind.removesuffix('s')} `{name}`. {nearest(name, found)}")
    return found[name]
