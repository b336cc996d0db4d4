"""Ingredients for tests of merging: tensors in memory, and weighted means of files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ftbench.merging.source import Layout, open_ingredient
from ftbench.merging.streaming import Merger, Rule, mean_rule

KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}


class Memory:
    """Opened weights that lie in memory."""

    def __init__(self, **tensors: torch.Tensor) -> None:
        self.file, self.tensors = Path("memory"), tensors

    @property
    def layout(self) -> Layout:
        return {name: (tuple(tensor.shape), KINDS[tensor.dtype]) for name, tensor in self.tensors.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def place(self, name: str) -> tuple[Path, int, int]:
        return self.file, 0, 0


def merge(rule: Rule, start: Memory | None = None, /, **sources: Memory) -> dict[str, torch.Tensor]:
    """What a rule makes of sources named by their runs."""
    return dict(Merger(sources, rule, start).tensors())


def average(weights: Mapping[Path, float], **settings: Any) -> dict[str, torch.Tensor]:
    """The weighted mean of files."""
    with ExitStack() as stack:
        sources = {str(file): stack.enter_context(open_ingredient(file)) for file in weights}
        rule = mean_rule({str(file): weight for file, weight in weights.items()})
        return {name: tensor.clone() for name, tensor in Merger(sources, rule, None, **settings).tensors()}


def check_same_layout(files: list[Path]) -> None:
    """The check of layouts on files, named by their paths."""
    from ftbench.merging.agreement import check_layouts

    with ExitStack() as stack:
        check_layouts({str(file): stack.enter_context(open_ingredient(file)) for file in files})
