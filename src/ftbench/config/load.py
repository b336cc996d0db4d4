"""Reading configuration files: studies, data-set entries and model entries.

The command line, the workflow and the tests load every file through here. Files are only read, never
written, and nothing is cached between calls, so an edited file is seen by the next call.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ftbench.config.dataset import DatasetEntry
from ftbench.config.errors import FtbenchError, nearest, problem
from ftbench.config.model import ModelEntry
from ftbench.config.strict import NAME_PATTERN, Model, Strict, validated
from ftbench.config.study import Study

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeyLoader(_BaseLoader):  # type: ignore[misc]
    """A safe loader that refuses a key given twice, which YAML would silently let win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<` takes over keys, which may be given again
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key}` stands twice", key_node.start_mark
                )
            seen.add(key)
        return dict(super().construct_mapping(node, deep))


def read_yaml(file: Path) -> Any:
    """The content of a YAML file, or an `FtbenchError` that names the file and the line."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506, safe loader
    except FileNotFoundError:
        raise FtbenchError(problem(file=file, found="no such file")) from None
    except yaml.YAMLError as error:
        raise FtbenchError(problem(file=file, found=f"no valid YAML: {error}")) from None
    except UnicodeDecodeError as error:
        raise FtbenchError(problem(file=file, found=f"no UTF-8 text: {error}")) from None


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its name (the file's stem), which is also its folder under `results/`."""

    name: str
    file: Path
    study: Study


@dataclass(frozen=True)
class Catalogue:
    """Every data-set and model entry of a project, by name, with the file that holds it."""

    datasets: dict[str, DatasetEntry]
    models: dict[str, ModelEntry]
    files: dict[str, Path]

    def dataset(self, name: str) -> DatasetEntry:
        if name not in self.datasets:
            raise FtbenchError(f"unknown data set `{name}`. {nearest(name, self.datasets)}")
        return self.datasets[name]

    def model(self, name: str) -> ModelEntry:
        if name not in self.models:
            raise FtbenchError(f"unknown model `{name}`. {nearest(name, self.models)}")
        return self.models[name]


def study_file(reference: str, root: Path) -> Path:
    """The file of a study given by name (`config/studies/NAME.yaml`) or by path."""
    if reference.endswith((".yaml", ".yml")):
        return Path(reference) if Path(reference).is_absolute() else root / reference
    file = root / "config" / "studies" / f"{reference}.yaml"
    if not file.is_file():
        known = [item.stem for item in sorted((root / "config" / "studies").glob("*.yaml"))]
        raise FtbenchError(problem(file=file, found="no such study", fix=nearest(reference, known)))
    return file


def load_study(reference: str, root: Path) -> LoadedStudy:
    """A validated study; unknown or wrongly typed keys raise an `FtbenchError` that lists all of them."""
    file = study_file(reference, root)
    if not re.match(NAME_PATTERN, file.stem):
        expected = "letters, digits, `_`, `.` and `-`: the name becomes a folder of results"
        raise FtbenchError(problem(file=_shown(file, root), found=f"the file name `{file.stem}`", expected=expected))
    return LoadedStudy(file.stem, file, validated(Study, read_yaml(file), _shown(file, root)))


def load_catalogue(root: Path) -> Catalogue:
    """All entries under `config/datasets` and `config/models`; problems of all files are raised together."""
    errors: list[str] = []
    files: dict[str, Path] = {}
    datasets = _entries(DatasetEntry, "datasets", root, errors, files)
    models = _entries(ModelEntry, "models", root, errors, files)
    if errors:
        raise FtbenchError("\n".join(errors))
    return Catalogue(datasets, models, files)


def _entries(kind: type[Model], folder: str, root: Path, errors: list[str], files: dict[str, Path]) -> dict[str, Model]:
    found: dict[str, Model] = {}
    for file in sorted((root / "config" / folder).glob("*.yaml")):
        shown = _shown(file, root)
        try:
            content = read_yaml(file)
        except FtbenchError as error:
            errors.append(str(error))
            continue
        if content is not None and not isinstance(content, dict):
            errors.append(
                problem(file=shown, found=f"{type(content).__name__}", expected="a mapping of names to entries")
            )
            continue
        for name, value in (content or {}).items():
            if not isinstance(name, str) or not re.match(NAME_PATTERN, name) or len(name) > 80:
                expected = "a name of letters, digits, `_`, `.` and `-`, in quotes if it looks like a number"
                errors.append(
                    problem(file=shown, key=str(name)[:80], found=f"the name {name!r:.90}", expected=expected)
                )
                continue
            if name in found:
                errors.append(
                    problem(
                        file=shown,
                        key=name,
                        found="a name given twice",
                        fix=f"Also in {files[f'{folder}/{name}']}.",
                    )
                )
                continue
            try:
                found[name] = validated(kind, value, shown, prefix=str(name))
                files[f"{folder}/{name}"] = shown
            except FtbenchError as error:
                errors.append(str(error))
    return found


def _shown(file: Path, root: Path) -> Path:
    return file.relative_to(root) if file.is_relative_to(root) else file


def json_schemas() -> dict[str, Any]:
    """JSON schemas of the three kinds of files, for editors: one object with a definition for each."""
    kinds: dict[str, type[Strict]] = {"study": Study, "dataset": DatasetEntry, "model": ModelEntry}
    return {name: kind.model_json_schema() for name, kind in kinds.items()}
