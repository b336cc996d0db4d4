"""Groups of a model's parameters, found from the module tree and not from names of one architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LinearWeight:
    """The weight matrix of a linear layer; `input_dimension` is the axis that runs over the inputs."""

    name: str
    parameter: torch.Tensor
    input_dimension: int


def backbone_prefix(model: torch.nn.Module) -> str:
    """The attribute under which a classification model keeps its pretrained part, with a dot behind it."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    if not prefix or not hasattr(model, prefix):
        raise FtbenchError(
            f"the model class {type(model).__name__} has no pretrained part under `base_model_prefix`; "
            "expected a transformers model for sequence classification"
        )
    return prefix + "."


def is_head(name: str, model: torch.nn.Module) -> bool:
    """True for parameters outside the pretrained part: the new head."""
    return not name.startswith(backbone_prefix(model))


def is_pooler(name: str, model: torch.nn.Module) -> bool:
    """True for the pooler, which belongs to the pretrained part but feeds only the head."""
    return name.startswith(backbone_prefix(model) + "pooler.")


def is_encoder(name: str, model: torch.nn.Module) -> bool:
    """True for embeddings and blocks: what tasks with heads of their own share."""
    return not is_head(name, model) and not is_pooler(name, model)


def linear_weights(model: torch.nn.Module) -> Iterator[LinearWeight]:
    """The weights of all linear layers, head included, embeddings not: the matrices that DPS selects in."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            yield LinearWeight(f"{name}.weight", module.weight, 1)
        elif isinstance(module, Conv1D):  # GPT-2 stores its linear layers transposed
            yield LinearWeight(f"{name}.weight", module.weight, 0)


def without_decay(model: torch.nn.Module) -> set[str]:
    """Names of parameters that are never decayed: biases and everything in normalisation layers."""
    names = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    for prefix, module in model.named_modules():
        if "norm" in type(module).__name__.lower():
            names |= {f"{prefix}.{name}" if prefix else name for name, _ in module.named_parameters(recurse=False)}
    return names
