"""Resume checkpoints of the training loop: safetensors for tensors, JSON for the rest, renamed when whole.

They live in the work folder of one spec and one source; the loop writes them by time and when it is told to
stop, and the stage adapter removes them on success.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from ftbench.training.weights import load_weights, save_weights

TENSOR = "tensor:"


def _pack(value: Any, place: str, tensors: dict[str, Any]) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        # clone: optimisers may share storage between states, which safetensors refuses
        tensors[place] = value.detach().to("cpu").contiguous().clone()
        return TENSOR + place
    if isinstance(value, dict):
        return {"pairs": [[key, _pack(item, f"{place}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{place}/{index}", tensors) for index, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: dict[str, Any]) -> Any:
    if isinstance(value, str) and value.startswith(TENSOR):
        return tensors[value.removeprefix(TENSOR)]
    if isinstance(value, dict):
        return {key: _unpack(item, tensors) for key, item in value["pairs"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value


class Checkpoints:
    """The newest checkpoint in a folder; writing a new one removes the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, number: int, state: dict[str, Any]) -> None:
        """Write `state` (nested dicts and lists of tensors and JSON values) under a growing number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            tensors: dict[str, Any] = {}
            skeleton = _pack(state, "", tensors)
            save_weights(tensors, partial / "tensors.safetensors")
            (partial / "state.json").write_text(json.dumps(skeleton))
            for file in partial.iterdir():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
        except BaseException:  # a full disk: what was begun must not fill it further, and the one before stays
            shutil.rmtree(partial, ignore_errors=True)
            raise
        final = self.folder / f"checkpoint-{number:010d}"
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for older in self._all()[:-1]:
            shutil.rmtree(older, ignore_errors=True)

    def load(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None."""
        found = self._all()
        if not found:
            return None
        tensors = load_weights(found[-1] / "tensors.safetensors")
        state: dict[str, Any] = _unpack(json.loads((found[-1] / "state.json").read_text()), tensors)
        return state

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*")) if self.folder.is_dir() else []
