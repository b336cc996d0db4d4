"""Weights as safetensors: reading, writing, hashing. Tied weights are stored once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch


def plain_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The model's weights and persistent buffers on the CPU, each storage once, under its first name."""
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    state: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        state[name] = tensor.detach().to("cpu").contiguous()
    return state


def save_weights(state: Mapping[str, torch.Tensor], file: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and metadata; equal content gives equal bytes."""
    from safetensors.torch import save_file

    save_file(dict(state), str(file), metadata={"format": "pt", **(metadata or {})})
    if metadata:
        _sort_metadata(file)


def _sort_metadata(file: Path) -> None:
    # safetensors writes the metadata in an order that changes from call to call, and with it the file's digest
    with file.open("r+b") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:
            handle.seek(8)
            handle.write(text.ljust(size))


def load_weights(file: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file; a damaged file raises an `FtbenchError` that names it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(file)))
    except (SafetensorError, FileNotFoundError) as error:
        raise FtbenchError(f"{file}: found no readable safetensors file ({error}). Delete it and run again.") from None


def weights_hash(state: Mapping[str, torch.Tensor]) -> str:
    """A hash of names, types, shapes and bytes: equal exactly for equal weights."""
    import torch

    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to("cpu").contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return total.hexdigest()


def file_digest(file: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal text."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
