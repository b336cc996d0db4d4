"""Groups of a model's parameters, found from the module tree and not from names of one architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def blocks(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """The transformer blocks, bottom first, with their names: the longest list of modules of one class in the
    pretrained part. A model without one raises an `FtbenchError`."""
    import torch

    prefix = backbone_prefix(model)
    found: tuple[str, torch.nn.ModuleList] | None = None
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.ModuleList) or not f"{name}.".startswith(prefix) or not len(module):
            continue
        if len({type(item) for item in module}) == 1 and (found is None or len(module) > len(found[1])):
            found = name, module
    if found is None:
        raise FtbenchError(f"{type(model).__name__}: found no list of equal blocks; expected a transformer encoder")
    return [(f"{found[0]}.{index}", module) for index, module in enumerate(found[1])]


@dataclass(frozen=True)
class LayerGroups:
    """Names of all parameters, each in exactly one group."""

    embeddings: tuple[str, ...]  # whatever feeds the blocks, or all of them (relative positions)
    blocks: tuple[tuple[str, ...], ...]  # bottom first
    top: tuple[str, ...]  # of the pretrained part, behind the blocks: pooler, last normalisation
    head: tuple[str, ...]  # outside the pretrained part


def layer_groups(model: torch.nn.Module) -> LayerGroups:
    """Sort a model's parameters by depth. What lies in the pretrained part and is registered before the blocks,
    or beside them in their parent, counts as embeddings; what comes behind them as top."""
    found = blocks(model)
    order = [name for name, _ in model.named_parameters()]
    names: list[list[str]] = [[] for _ in found]
    prefix, last = backbone_prefix(model), found[-1][0]
    embeddings: list[str] = []
    top: list[str] = []
    head: list[str] = []
    outer = last.rpartition(".")[0].rpartition(".")[0] + "."  # the blocks' parent, `bert.encoder.`
    behind = False
    for name in order:
        position = next((index for index, (block, _) in enumerate(found) if name.startswith(block + ".")), None)
        if position is not None:
            names[position].append(name)
            behind = True
        elif not name.startswith(prefix):
            head.append(name)
        elif behind and (outer == prefix or not name.startswith(outer)):
            top.append(name)
        else:
            embeddings.append(name)
    return LayerGroups(tuple(embeddings), tuple(tuple(block) for block in names), tuple(top), tuple(head))


# names of linear layers inside a block, in the families of `tests/model_families.py`, by what they compute
_NAMES = {
    "query": ("attention.self.query", "attention.self.query_proj", "attention.q_lin", "self_attn.q_proj"),
    "key": ("attention.self.key", "attention.self.key_proj", "attention.k_lin", "self_attn.k_proj"),
    "value": ("attention.self.value", "attention.self.value_proj", "attention.v_lin", "self_attn.v_proj"),
    "position": ("attention.self.pos_key_proj", "attention.self.pos_query_proj"),
    "query_key_value": ("attn.c_attn", "attn.Wqkv"),
    "attention_output": (
        "attention.output.dense", "attention.out_lin", "self_attn.o_proj", "attn.c_proj", "attn.Wo",
    ),
    "intermediate": ("intermediate.dense", "ffn.lin1", "mlp.gate_proj", "mlp.up_proj", "mlp.c_fc", "mlp.Wi"),
    "output": ("output.dense", "ffn.lin2", "mlp.down_proj", "mlp.c_proj", "mlp.Wo"),
}  # fmt: skip
ROLES: Mapping[str, str] = {name: role for role, names in _NAMES.items() for name in names}
ATTENTION = frozenset({"query", "key", "value", "position", "query_key_value", "attention_output"})


@dataclass(frozen=True)
class BlockLinear:
    """A linear layer of a block, and what it computes there: a value of `ROLES`, or `other`."""

    name: str
    module: torch.nn.Module
    role: str


def block_linears(model: torch.nn.Module) -> list[BlockLinear]:
    """The linear layers of all blocks, bottom first, in the order of their registration."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return [
        BlockLinear(f"{block}.{name}", module, ROLES.get(name, "other"))
        for block, parent in blocks(model)
        for name, module in parent.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    ]


def top_blocks(model: torch.nn.Module, count: int, key: str) -> list[tuple[str, torch.nn.Module]]:
    """The `count` blocks nearest the head, bottom first; more than the model has raise an `FtbenchError` that names
    the setting `key`."""
    found = blocks(model)
    if count > len(found):
        raise FtbenchError(
            f"key `{key}`: found {count}; expected at most {len(found)}, the blocks of {type(model).__name__}"
        )
    return found[len(found) - count :]


def linear_weights(model: torch.nn.Module) -> Iterator[LinearWeight]:
    """The weights of all linear layers, head included, embeddings not: the matrices that DPS selects in."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            yield LinearWeight(f"{name}.weight", module.weight, 1)
        elif isinstance(module, Conv1D):  # GPT-2 stores its linear layers transposed
            yield LinearWeight(f"{name}.weight", module.weight, 0)


def is_normalisation(module: torch.nn.Module) -> bool:
    """True for layer norms and their relatives of every family, whose classes share only a part of their names."""
    return "norm" in type(module).__name__.lower()


def normalisation_names(model: torch.nn.Module) -> set[str]:
    """Names of the parameters of all normalisation layers."""
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if is_normalisation(module)
        for name, _ in module.named_parameters(recurse=False)
    }


def without_decay(model: torch.nn.Module) -> set[str]:
    """Names of parameters that are never decayed: biases and everything in normalisation layers."""
    return normalisation_names(model) | {name for name, _ in model.named_parameters() if name.endswith("bias")}
