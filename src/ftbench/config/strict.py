"""The base of every configuration type, and validation errors in words.

All types are frozen and refuse unknown keys. `validated` is the only way from a YAML mapping to a typed
object; it collects every error at once and names the file, the key and the nearest known key.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from ftbench.config.errors import FtbenchError, closest, nearest, problem

# Names become folders and wildcards of the graph, so they hold no separator and no shell character.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=80)]


class Strict(BaseModel):
    """A frozen configuration object that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    def canonical(self) -> str:
        """The resolved object as JSON with sorted keys: equal objects give equal text."""
        import json

        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


Model = TypeVar("Model", bound=Strict)


def validated(kind: type[Model], value: Any, file: str | Path, prefix: str = "") -> Model:
    """`value` as a `kind`, or an `FtbenchError` that lists every problem, one a line."""
    if not isinstance(value, Mapping):
        raise FtbenchError(
            problem(file=file, key=prefix or None, found=_shown(value), expected="a mapping of keys to values")
        )
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise FtbenchError("\n".join(problems(error, kind, file, prefix))) from None


def problems(error: ValidationError, kind: type[BaseModel], file: str | Path, prefix: str = "") -> list[str]:
    """The problems of a validation error, one line each, with suggestions for misspelt keys.

    A key that is absent because it is misspelt is one problem.
    """
    lines: list[str] = []
    absent: dict[str, str] = {}  # key to its line
    misspelt: set[str] = set()
    for item in error.errors(include_url=False):
        whole = item["loc"]  # its last part is always a key, even one that looks like a branch
        location = [str(part) for place, part in enumerate(whole) if place == len(whole) - 1 or not _is_branch(part)]
        key = ".".join(([prefix] if prefix else []) + location)
        if item["type"] == "extra_forbidden" and location:
            known = _fields_at(kind, location[:-1])
            misspelt.add(key.removesuffix(location[-1]) + (closest(location[-1], known) or ""))
            lines.append(problem(file=file, key=key, found="a key that is not known", fix=nearest(location[-1], known)))
        elif item["type"] == "missing":
            absent[key] = problem(file=file, key=key, found="nothing", expected="a value", fix="Add this key.")
            lines.append(absent[key])
        else:
            message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            lines.append(problem(file=file, key=key, found=_shown(item["input"]), expected=message))
    explained = {absent[key] for key in misspelt & absent.keys()}
    return [line for line in dict.fromkeys(lines) if line not in explained]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


def _is_branch(part: int | str) -> bool:
    # pydantic puts the name of the tried union branch into the location; it is no key of the file
    return isinstance(part, str) and ("[" in part or part in {"str", "int", "float", "bool", "function-before"})


def _fields_at(kind: type[BaseModel], location: list[str]) -> set[str]:
    """The keys that may stand at a location inside `kind`."""
    models = [kind]
    for part in location:
        following: list[type[BaseModel]] = []
        for model in models:
            if part in model.model_fields:
                following += _models_in(model.model_fields[part].annotation)
            elif part == model.__name__ or part.isdigit():
                following.append(model)
            else:  # the key of a mapping or the index of a list: the type stays that of its values
                following.append(model)
        models = following
    return {name for model in models for name in model.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every configuration type that stands anywhere inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, list, tuple, dict, Annotated, Mapping):
        return [model for argument in get_args(annotation) for model in _models_in(argument)]
    arguments = get_args(annotation)
    return [model for argument in arguments for model in _models_in(argument)]
