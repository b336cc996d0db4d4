"""Where adapters go in: the projections of every block, found by watching one forward pass.

The order in which a block calls its layers tells what names of one architecture cannot: which projection ends a
sublayer, whether a dropout follows it, and whether the block normalises behind its residual sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError
from ftbench.training.layers import blocks

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SublayerEnd:
    """The last projection of a sublayer, and the module whose output is added to the residual stream: the dropout
    that follows the projection, or the projection itself."""

    linear: str
    place: str


@dataclass(frozen=True)
class Sites:
    """Names of modules in one block; `query`, `key` and `value` are one name where one projection computes all."""

    block: str
    query: str
    key: str
    value: str
    attention: SublayerEnd
    feed_forward_inputs: tuple[str, ...]
    feed_forward: SublayerEnd
    closing_norm: str | None  # behind the residual sum of the feed-forward layer; None where blocks normalise first

    @property
    def fused(self) -> bool:
        return self.query == self.key


def sample_pass(model: torch.nn.Module) -> None:
    """One forward pass over four tokens without gradients and without dropout, for hooks that watch it."""
    import torch

    device = next(model.parameters()).device
    ids = torch.tensor([[2, 3, 2, 3]], device=device)  # ids 0 and 1 are padding in many vocabularies
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    model.train(was_training)


def is_linear(module: torch.nn.Module) -> bool:
    """True for linear layers, those that GPT-2 stores transposed included."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)


def widths(linear: torch.nn.Module) -> tuple[int, int]:
    """Inputs and outputs of a linear layer."""
    import torch

    if isinstance(linear, torch.nn.Linear):
        return linear.in_features, linear.out_features
    inputs, outputs = linear.weight.shape  # type: ignore[misc]  # Conv1D
    return int(inputs), int(outputs)


def _is_norm(module: torch.nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def insertion_sites(model: torch.nn.Module) -> list[Sites]:
    """The sites of all blocks, bottom first. A block that cannot be read raises an `FtbenchError`."""
    import torch

    calls: dict[str, list[str]] = {block: [] for block, _ in blocks(model)}
    handles = []
    for block, module in blocks(model):
        for inner, part in module.named_modules():
            if is_linear(part) or _is_norm(part) or isinstance(part, torch.nn.Dropout):

                def watch(*_: object, block: str = block, name: str = inner) -> None:
                    calls[block].append(name)

                handles.append(part.register_forward_hook(watch))
    try:
        sample_pass(model)
    finally:
        for handle in handles:
            handle.remove()
    return [_sites(model, block, module, calls[block]) for block, module in blocks(model)]


def _sites(model: torch.nn.Module, block: str, module: torch.nn.Module, calls: list[str]) -> Sites:
    import torch

    # DeBERTa v3 calls its projections of query and key again, for the relative positions
    linears = list(dict.fromkeys(name for name in calls if is_linear(module.get_submodule(name))))
    attention = [name for name in linears if "att" in name.partition(".")[0]]
    inner = [name for name in linears if name not in attention]
    if len(attention) < 2 or len(inner) < 2:
        raise FtbenchError(
            f"{type(model).__name__}, block `{block}`: found the linear layers {linears}; expected projections of an "
            "attention (in a module whose name holds `att`) followed by those of a feed-forward layer"
        )

    def ends_at(name: str) -> SublayerEnd:
        behind = calls[calls.index(name) + 1 : calls.index(name) + 2]
        dropped = bool(behind) and isinstance(module.get_submodule(behind[0]), torch.nn.Dropout)
        return SublayerEnd(f"{block}.{name}", f"{block}.{behind[0] if dropped else name}")

    query, key, value = _roles(model, block, module, attention)
    after = calls[calls.index(inner[-1]) + 1 :]
    closing = next((f"{block}.{name}" for name in after if _is_norm(module.get_submodule(name))), None)
    return Sites(
        block,
        f"{block}.{query}",
        f"{block}.{key}",
        f"{block}.{value}",
        ends_at(attention[-1]),
        tuple(f"{block}.{name}" for name in inner[:-1]),
        ends_at(inner[-1]),
        closing,
    )


def _roles(model: torch.nn.Module, block: str, module: torch.nn.Module, attention: list[str]) -> tuple[str, str, str]:
    projections = attention[:-1]
    if len(projections) == 1:
        inputs, outputs = widths(module.get_submodule(projections[0]))
        if outputs > inputs:  # one matrix for query, key and value
            return projections[0], projections[0], projections[0]
    found = []
    for letter in "qkv":
        named = [name for name in projections if name.rpartition(".")[2].lower().startswith(letter)]
        if len(named) != 1:
            raise FtbenchError(
                f"{type(model).__name__}, block `{block}`: found the attention projections {projections}; expected one "
                "each whose name begins with q, k and v, or one for all three"
            )
        found.append(named[0])
    return found[0], found[1], found[2]
