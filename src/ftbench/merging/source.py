"""Ingredients as lazily opened weights: names, shapes, types, and one tensor at a time.

Every reader of ingredients opens them through `open_ingredient`. Files are mapped and not loaded, so that merging
needs the memory of a tensor and not that of a model. What is not safetensors is refused: pickles run code when read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how files of `torch.save` begin, new and old

Layout = dict[str, tuple[tuple[int, ...], str]]  # name to shape and type, types as safetensors names them


class Source(Protocol):
    """Opened weights."""

    file: Path

    @property
    def layout(self) -> Layout:
        """Shape and type of every tensor."""

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor; not to be changed, it may be a view of the file."""

    def place(self, name: str) -> tuple[Path, int, int]:
        """Where a tensor lies: its file, its first byte there and the one after its last."""


class _Files:
    """A safetensors file, or the shards of one."""

    def __init__(self, file: Path, handles: Mapping[str, Any], shards: list[Path]) -> None:
        self.file, self._handles, self._shards = file, handles, shards
        self._layout: Layout | None = None
        self._places: dict[str, tuple[Path, int, int]] = {}

    @property
    def layout(self) -> Layout:
        if self._layout is None:
            slices = {name: handle.get_slice(name) for name, handle in self._handles.items()}
            self._layout = {name: (tuple(item.get_shape()), item.get_dtype()) for name, item in slices.items()}
        return self._layout

    def tensor(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._handles[name].get_tensor(name)
        return found

    def place(self, name: str) -> tuple[Path, int, int]:
        if not self._places:
            for shard in self._shards:
                self._places.update(places_in(shard))
        return self._places[name]


@contextmanager
def open_ingredient(place: Path) -> Iterator[Source]:
    """Open a safetensors file, the index of a sharded one, or a folder that holds either.

    Raises `FtbenchError` with the file's name where it is absent, cut off, damaged or a pickle.
    """
    file = _weights_in(place) if place.is_dir() else place
    with ExitStack() as stack:
        handles: dict[str, Any] = {}
        shards = _shards(file)
        for shard in shards:
            opened = stack.enter_context(_opened(shard))
            for name in opened.keys():  # noqa: SIM118, the handle is no mapping
                if name in handles:
                    raise FtbenchError(f"{file}: tensor `{name}` stands in two shards; write the checkpoint again")
                handles[name] = opened
        yield _Files(file, handles, shards)


def places_in(file: Path) -> dict[str, tuple[Path, int, int]]:
    """Where each tensor of a whole safetensors file lies: the file, its first byte there and the one after its last."""
    with file.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(size))
    header.pop("__metadata__", None)
    offsets = {name: item["data_offsets"] for name, item in header.items()}
    return {name: (file, 8 + size + begin, 8 + size + end) for name, (begin, end) in offsets.items()}


def _weights_in(folder: Path) -> Path:
    for name in (WEIGHTS, INDEX):
        if (folder / name).is_file():
            return folder / name
    pickles = sorted(item.name for item in folder.iterdir() if item.suffix in _PICKLES)
    if pickles:
        raise FtbenchError(_refused(folder / pickles[0]))
    raise FtbenchError(f"{folder}: found neither {WEIGHTS} nor {INDEX}; expected a folder with safetensors weights")


def _shards(file: Path) -> list[Path]:
    if file.suffix != ".json":
        return [file]
    try:
        mapped = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        return [file.with_name(name) for name in sorted(set(mapped.values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FtbenchError(f"{file}: found no readable index of shards ({error}); expected `weight_map`") from None


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise FtbenchError(f"{file}: found no such file; expected safetensors weights. Run the study again.")
    with file.open("rb") as handle:
        begin = handle.read(4)
    if file.suffix in _PICKLES or begin == _ZIP or (begin[:1] == _PICKLE and begin[1:2] in b"\x02\x03\x04\x05"):
        raise FtbenchError(_refused(file))
    try:
        opened = safe_open(str(file), framework="pt")
    except (SafetensorError, OSError) as error:
        size = file.stat().st_size
        raise FtbenchError(
            f"{file}: found {size} bytes that are no whole safetensors file ({error}). It is cut off or damaged: "
            "delete it and run the study again."
        ) from None
    with opened as whole:
        yield whole


def check_safe(file: Path) -> None:
    """The file is there and no pickle, by its name and its first bytes."""
    if not file.is_file():
        raise FtbenchError(f"{file}: found no such file; expected safetensors weights. Run the study again.")
    with file.open("rb") as handle:
        begin = handle.read(4)
    old = begin[:1] == _PICKLE and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if file.suffix in _PICKLES or begin == _ZIP or old:
        raise FtbenchError(_refused(file))


def _refused(file: Path) -> str:
    return (
        f"{file}: found a pickled checkpoint, which may run any code when it is read and never is. "
        "Convert it to safetensors where it comes from."
    )
