"""Writing safetensors so that what is written never lies in memory as a whole: one tensor at a time, or in place.

The header is known beforehand from names, shapes and types. Equal content gives equal bytes. Where the weights
exceed a bound, `write_folder` makes shards and their index as transformers does; a stage writes one file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.merging.source import INDEX, WEIGHTS, Layout, places_in

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 50_000_000_000  # what transformers puts into one file
_SIZES = {
    "F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip

Make = Callable[[str], "torch.Tensor"]


def bytes_of(shape: Sequence[int], kind: str) -> int:
    """The size of a tensor in a file."""
    size = _SIZES.get(kind)
    if size is None:
        raise FtbenchError(f"found tensors of type {kind}; expected one of {', '.join(_SIZES)}")
    for extent in shape:
        size *= extent
    return size


def write_file(file: Path, layout: Layout, make: Make, metadata: Mapping[str, str] | None = None) -> None:
    """Write the tensors of `layout`, each made when its turn comes. `make(name)` must fit the layout.

    Larger types come first, then names in order, so that every tensor is aligned.
    """
    names = sorted(layout, key=lambda name: (-_SIZES.get(layout[name][1], 0), name))
    header: dict[str, object] = {"__metadata__": dict(sorted({"format": "pt", **(metadata or {})}.items()))}
    end = 0
    for name in names:
        shape, kind = layout[name]
        begin, end = end, end + bytes_of(shape, kind)
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little"))
        handle.write(text)
        for name in names:
            _put(handle.write, name, make(name), bytes_of(*layout[name]))


def _put(write: Callable[[memoryview], object], name: str, tensor: torch.Tensor, expected: int) -> None:
    import torch

    if tensor.nbytes != expected:
        raise FtbenchError(f"tensor `{name}` came out with {tensor.nbytes} bytes; expected {expected}")
    if expected:
        raw = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
        write(raw.data)


def mapped_file(file: Path, layout: Layout) -> dict[str, torch.Tensor]:
    """A new file of zeros and its tensors, type F32: what is changed in them is changed in the file.

    They need no memory that the system cannot take back, so sums as large as a model may be kept in them.
    """
    import numpy as np
    import torch

    write_file(file, layout, lambda name: torch.zeros(layout[name][0]))
    raw = np.memmap(file, dtype=np.uint8, mode="r+")
    return {
        name: torch.from_numpy(raw[begin:end].view(np.float32)).reshape(layout[name][0])
        for name, (_, begin, end) in places_in(file).items()
    }


def shards_of(layout: Layout, bound: int) -> list[Layout]:
    """The tensors in order of their names, cut where a shard would exceed `bound` bytes; larger tensors stand alone."""
    shards: list[Layout] = [{}]
    filled = 0
    for name in sorted(layout):
        size = bytes_of(*layout[name])
        if shards[-1] and filled + size > bound:
            shards.append({})
            filled = 0
        shards[-1][name] = layout[name]
        filled += size
    return shards


def write_folder(
    folder: Path, layout: Layout, make: Make, metadata: Mapping[str, str] | None = None, bound: int = SHARD_BYTES
) -> list[Path]:
    """Write weights as `transformers` saves them: one file, or shards and their index. Returns the weight files."""
    shards = shards_of(layout, bound)
    if len(shards) == 1:
        write_file(folder / WEIGHTS, layout, make, metadata)
        return [folder / WEIGHTS]
    files = [folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        write_file(file, shard, make, metadata)
    index = {
        "metadata": {"total_size": sum(bytes_of(*item) for item in layout.values())},
        "weight_map": {name: file.name for file, shard in zip(files, shards, strict=True) for name in shard},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return files
