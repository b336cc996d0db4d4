"""Finding plug-ins: by folder inside this package, and by entry point in others.

A plug-in is a class derived from the base class of its kind, in a module of `ftbench/<kind>/` or in a module
that the entry-point group `ftbench.<kind>` names. There is no list to edit.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
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
def _entry_points(kind: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """What other packages bring; the metadata of all packages are read for it."""
    return tuple(importlib.metadata.entry_points(group=f"ftbench.{kind}"))


@cache
def _discovered(kind: str) -> dict[str, Plugin]:
    package = importlib.import_module(f"ftbench.{kind}")
    modules = [f"ftbench.{kind}.{item.name}" for item in pkgutil.iter_modules(package.__path__) if item.name != "base"]
    modules += [point.module for point in _entry_points(kind)]
    found: dict[str, Plugin] = {}
    for module in modules:
        for one in _of_module(kind, module):
            if one.name in found:
                raise FtbenchError(
                    f"two plug-ins of kind {kind} are named `{one.name}`: in {found[one.name].module} and in {module}"
                )
            found[one.name] = one
    return dict(sorted(found.items()))


def _of_module(kind: str, module: str) -> list[Plugin]:
    base = importlib.import_module(f"ftbench.{kind}.base").PLUGIN_BASE
    classes: list[tuple[str, Any]] = inspect.getmembers(importlib.import_module(module), inspect.isclass)
    return [
        Plugin(value.name, kind, module, value)
        for _, value in classes
        if value.__module__ == module and issubclass(value, base) and "name" in value.__dict__
    ]


@cache
def _own(kind: str, name: str) -> Plugin | None:
    """The plug-in in the file of its name in this package, found without reading the others; null where there is none,
    or another package brings plug-ins of the kind."""
    module = f"ftbench.{kind}.{name}"
    if not name.isidentifier() or name == "base" or _entry_points(kind):
        return None
    if kind not in KINDS or importlib.util.find_spec(module) is None:
        return None
    return next((one for one in _of_module(kind, module) if one.name == name), None)


def plugins(kind: str) -> dict[str, Plugin]:
    """Every plug-in of a kind (one of `KINDS`), by name."""
    return _discovered(kind)


def plugin(kind: str, name: str) -> Plugin:
    """One plug-in, or an `FtbenchError` that suggests the nearest name."""
    found = plugin_or_none(kind, name)
    if found is None:
        raise FtbenchError(f"unknown {kind.removesuffix('s')} `{name}`. {nearest(name, plugins(kind))}")
    return found


def plugin_or_none(kind: str, name: str) -> Plugin | None:
    """The plug-in of a name, or null."""
    return _own(kind, name) or plugins(kind).get(name)
