"""The source fingerprint of a stage: a hash of the syntax trees of everything it imports inside ftbench.

Snakemake does not see changes in imported modules, so the plan hands it this hash as a parameter. Comments,
docstrings and formatting do not count; every statement does, imports inside functions included. Plug-ins
are found by folder and so are not imported by name: the plan adds the module of each plug-in that a job uses.
What a file's bytes parse to is remembered between calls; losing that memory costs time and nothing else. The same
source has the same fingerprint in every release of Python that parses it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

PACKAGE = "ftbench"
MOST_REMEMBERED = 4000  # files


@cache
def _file_of(module: str) -> Path | None:
    top, *parts = module.split(".")
    spec = importlib.util.find_spec(top)  # a top-level name is found without importing anything
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    origin = Path(spec.origin)
    if not parts:
        return origin
    if origin.name != "__init__.py":
        return None
    place = origin.parent.joinpath(*parts)
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """The digest of one module's syntax tree without docstrings, and the modules of its package it imports."""
    file = _file_of(module)
    if file is None:
        return "", ()
    content = file.read_bytes()
    remembered, key = _memory(), hashlib.sha256(f"{module} {file.name} ".encode() + content).hexdigest()
    if key not in remembered:
        remembered[key] = _parse(module, file, content)
    digest, *imported = remembered[key]
    top = module.partition(".")[0]
    inside = [name for name in imported if name.partition(".")[0] in {PACKAGE, top} and _file_of(name) is not None]
    return digest, tuple(inside)


def _parse(module: str, file: Path, content: bytes) -> list[str]:
    """The digest of the syntax tree, and every name that is imported, in order."""
    tree = ast.parse(content, filename=str(file))
    # annotations under TYPE_CHECKING count as imports too: a false rerun is better than a stale number
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported.add(node.module)
            imported.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            package = module if file.name == "__init__.py" else module.rpartition(".")[0]
            parent = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
            base = f"{parent}.{node.module}" if node.module else parent
            imported.add(base)
            imported.update(f"{base}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    return [hashlib.sha256(canonical(tree).encode()).hexdigest(), *sorted(imported)]


def canonical(tree: ast.AST) -> str:
    """A syntax tree as text: equal for equal statements, and in every release of Python.

    `ast.dump` is not: releases add fields (`type_params` in 3.12) and print other ones (3.13). Here every field has
    its name, and one that is empty does not show, so that a new one changes nothing until a source uses it.
    """
    parts: list[str] = []

    def write(value: object) -> None:
        if isinstance(value, ast.AST):
            parts.append(f"{type(value).__name__}(")
            for name in value._fields:
                inner = getattr(value, name, None)
                # 3.12 ends some format specifications with an empty text
                if name == "values" and isinstance(value, ast.JoinedStr):
                    inner = [item for item in value.values if not (isinstance(item, ast.Constant) and item.value == "")]
                if inner is not None and inner != []:
                    parts.append(f"{name}=")
                    write(inner)
            parts.append(")")
        elif isinstance(value, list):
            parts.append("[")
            for item in value:
                write(item)
                parts.append(",")
            parts.append("]")
        else:
            parts.append(f"{type(value).__name__}:{value!a} ")

    write(tree)
    return "".join(parts)


def _memory_file() -> Path:
    """In the user's cache folder; other releases of Python or of this file parse for themselves."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / PACKAGE / f"sources-{sys.version_info[0]}.{sys.version_info[1]}-{own}.json"


@cache
def _memory() -> dict[str, list[str]]:
    """Parsed files by the hash of their bytes; empty where none can be read, or where too many have gathered."""
    try:
        found = json.loads(_memory_file().read_text())
    except (OSError, RuntimeError, ValueError):
        return {}
    return found if isinstance(found, dict) and len(found) < MOST_REMEMBERED else {}


def _remember() -> None:
    with suppress(OSError, RuntimeError):
        file = _memory_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(_memory()))
        temporary.replace(file)


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    if (
        node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
        and isinstance(node.body[0].value.value, str)
    ):
        if len(node.body) > 1 or isinstance(node, ast.Module):
            node.body.pop(0)
        else:  # a body must not be empty; keep the place, drop the text
            node.body[0] = ast.Expr(value=ast.Constant(value=None))


@cache
def closure(module: str) -> frozenset[str]:
    """All modules that `module` imports, directly or not, with their parent packages and itself."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or _file_of(name) is None:
            continue
        found.add(name)
        waiting.extend(_read(name)[1])
        if "." in name:
            waiting.append(name.rpartition(".")[0])
    return frozenset(found)


@cache
def _fingerprint(modules: tuple[str, ...]) -> str:
    known = len(_memory())
    reached = sorted(set().union(*(closure(module) for module in modules)))
    text = "\n".join(f"{name} {_read(name)[0]}" for name in reached)
    if len(_memory()) > known:
        _remember()
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(modules: Iterable[str]) -> str:
    """One hash for the import closures of several modules; equal sources give equal hashes on any machine."""
    return _fingerprint(tuple(sorted(set(modules))))


def forget() -> None:
    """Drop what was read, for a process that edits sources (tests)."""
    for function in (_file_of, _read, _memory, closure, _fingerprint):
        function.cache_clear()
