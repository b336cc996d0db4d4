"""Which functions make up a source fingerprint, so that a change can be told by name.

The workflow notes them for the fingerprints of its jobs when it starts; `ftbench why` compares a note with the
source as it is now. Hashes are of syntax trees without docstrings, as in the fingerprint itself.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ftbench.fingerprint import _drop_docstring, _file_of, canonical, closure, fingerprint

Functions = dict[str, str]  # qualified name to hash; the rest of a module is under `statements`


@cache
def _functions(module: str) -> Functions:
    file = _file_of(module)
    if file is None:
        return {}
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    found: Functions = {}

    def visit(body: list[ast.stmt], prefix: str) -> list[ast.stmt]:
        rest: list[ast.stmt] = []
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + node.name] = _hash(node)
            elif isinstance(node, ast.ClassDef):
                node.body = visit(node.body, f"{prefix}{node.name}.") or [ast.Pass()]
                rest.append(node)
            else:
                rest.append(node)
        return rest

    tree.body = visit(tree.body, "")
    found["statements"] = _hash(tree)
    return found


def _hash(node: ast.AST) -> str:
    return hashlib.sha256(canonical(node).encode()).hexdigest()[:12]


def now(modules: Iterable[str]) -> dict[str, Functions]:
    """Module to functions, for everything that a fingerprint of `modules` covers."""
    return {name: _functions(name) for name in sorted(set().union(*(closure(module) for module in modules)))}


def note(folder: Path, modules: tuple[str, ...]) -> None:
    """Write down what the present fingerprint of `modules` is made of, unless that is known."""
    file = folder / f"{fingerprint(modules)}.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(now(modules)))


def changes(folder: Path, source: str, modules: tuple[str, ...]) -> list[str] | None:
    """What differs between the noted `source` and the present one, as `module: function`; None if none is noted."""
    try:
        before: dict[str, Functions] = json.loads((folder / f"{source}.json").read_text())
    except (OSError, ValueError):
        return None
    after = now(modules)
    found = []
    for module in sorted({*before, *after}):
        one, other = before.get(module), after.get(module)
        if one is None or other is None:
            found.append(f"{module}: {'new' if one is None else 'gone'}")
            continue
        for name in sorted({*one, *other}):
            if one.get(name) != other.get(name):
                word = "" if name in one and name in other else (" (new)" if name in other else " (gone)")
                found.append(f"{module}: {name}{word}")
    return found


def forget() -> None:
    """Drop what was read, for a process that edits sources (tests)."""
    _functions.cache_clear()
