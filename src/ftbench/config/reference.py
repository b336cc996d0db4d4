"""The page `docs/configuration.md`, made from the configuration types so that it cannot say something else.

Run `python -m ftbench.config.reference > docs/configuration.md` after changing a type; a test compares the two.
`ftbench describe` shows the settings of a method in the same words. No configuration file is read here.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ftbench.config.dataset import DatasetEntry, Revision
from ftbench.config.model import Digest, ModelEntry
from ftbench.config.strict import Name
from ftbench.config.study import Study

_INTRODUCTION = """# Configuration keys

Generated from the types by `python -m ftbench.config.reference > docs/configuration.md`; edit those instead.

Three kinds of YAML files are read: studies (`config/studies/*.yaml`, one study a file), data-set entries
(`config/datasets/*.yaml`, a mapping from name to entry) and model entries (`config/models/*.yaml`, the same).
A key that is not listed here is an error, with the nearest known key as a suggestion; so is a key given twice.
`ftbench check` reads all files and reports every problem at once. Rules that span several keys are not in these
tables; the check tells them. How jobs run (cores, threads, clusters) is in `profiles/`, never here.

A *name* consists of letters, digits, `_`, `.` and `-`, begins with a letter or digit, and has at most 80
characters: names become folders. A commit hash is all 40 hexadecimal digits, a sha256 all 64.
"""

_ROOTS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("Study files", Study),
    ("Data-set entries", DatasetEntry),
    ("Model entries", ModelEntry),
)
_SCALARS: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "true/false", Any: "anything"}
_NAMED: dict[str, Any] = {"name": Name, "commit hash": Revision, "sha256": Digest}
_BOUNDS = (("gt", "more than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))


def page() -> str:
    """The Markdown text of the page, ending in a newline."""
    parts = [_INTRODUCTION]
    shown: set[type[BaseModel]] = set()
    for title, root in _ROOTS:
        members = [kind for kind in _reached(root) if kind not in shown]
        shown.update(members)
        parts += [f"## {title}\n", *(_section(kind) for kind in members)]
    return "\n".join(parts)


def _reached(root: type[BaseModel]) -> list[type[BaseModel]]:
    """The type and all types inside it, each once, in the order of their keys."""
    found = [root]
    for kind in found:
        for field in kind.model_fields.values():
            found += [item for item in dict.fromkeys(_types_in(field.annotation)) if item not in found]
    return found


def _types_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _types_in(argument)


def _section(kind: type[BaseModel]) -> str:
    lines = [f"### {kind.__name__}", "", *(line.strip() for line in (kind.__doc__ or "").strip().splitlines()), ""]
    lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{name}` | {_cell(type_in_words(field))} | {_cell(default_in_words(field))} | {_cell(_meaning(field))} |"
        for name, field in kind.model_fields.items()
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "&#124;")


def _meaning(field: FieldInfo) -> str:
    """The description; for a key without one, the first line of its type's docstring."""
    if field.description:
        return field.description
    inside = list(_types_in(field.annotation))
    return (inside[0].__doc__ or "").strip().splitlines()[0] if inside else ""


def default_in_words(field: FieldInfo) -> str:
    """The default as JSON in backquotes; `required` where there is none."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)  # type: ignore[call-overload,unused-ignore]
    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{json.dumps(value)}`"


def type_in_words(field: FieldInfo) -> str:
    """The type in words, with the bounds of its value."""
    text = _words(field.annotation)
    constraints = tuple(field.metadata)
    for name, annotation in _NAMED.items():
        if constraints and constraints == annotation.__metadata__:
            return name
    limits = [
        f"{words} {getattr(item, key):g}"
        for key, words in _BOUNDS
        for item in constraints
        if getattr(item, key, None) is not None
    ]
    if any(getattr(item, "min_length", None) == 1 for item in constraints):
        limits.append("not empty")
    return ", ".join([text, *limits])


def _words(annotation: Any) -> str:
    for name, known in _NAMED.items():
        if annotation == known:
            return name
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if item is type(None) else _words(item) for item in arguments)
    if origin is list or (origin is tuple and arguments[-1] is Ellipsis):
        return f"list of {_words(arguments[0])}"
    if origin is tuple:
        return "[" + ", ".join(_words(item) for item in arguments) + "]"
    if origin is dict:
        return f"mapping from {_words(arguments[0])} to {_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return _SCALARS[annotation]


if __name__ == "__main__":
    sys.stdout.write(page())
