"""Trained keys and values in front of those of every attention layer.

Put in through transformers' registry of attention functions, so that any model that asks it works: mask extended by
ones, positions of the tokens unchanged. A model that computes attention by itself is refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ftbench.config.errors import FtbenchError
from ftbench.training.insertion import sample_pass
from ftbench.training.layers import backbone_prefix, blocks

IMPLEMENTATION = "ftbench_prefix"
SLOT = "prefix_slot"  # (prefixes, block) on an attention module; a tuple, so that it counts as no child


class Prefixes(nn.Module):
    """Keys and values (block: heads, virtual tokens, width of a head) from a table or a network over one."""

    def __init__(self, encoder: nn.Module, tokens: int, heads: int, width: int) -> None:
        super().__init__()
        self.encoder, self.heads, self.width = encoder, heads, width
        self.register_buffer("positions", torch.arange(tokens), persistent=False)
        self.current: torch.Tensor | None = None

    def compute(self) -> None:
        """Draw up the prefixes of one forward pass: (2 x blocks, 1, heads, virtual tokens, width)."""
        positions = self.get_buffer("positions")
        table = self.encoder(positions[None])
        self.current = table.reshape(1, len(positions), -1, self.heads, self.width).permute(2, 0, 3, 1, 4)

    def of(self, block: int, rows: int, kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Key and value of one block for a batch of `rows`."""
        assert self.current is not None
        shape = (rows, *self.current.shape[2:])
        key, value = (self.current[2 * block + part].to(kind).expand(shape) for part in (0, 1))
        return key, value


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    is_causal: bool | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention over [prefix; tokens]; every token sees the whole prefix."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    holder, block = getattr(module, SLOT)
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    if isinstance(holder, dict):  # the pass that looks for attention modules
        holder[block] = (module, key.shape[1], key.shape[3])
    else:
        if attention_mask is None and causal:
            attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=key.device).tril()[
                None, None
            ]
        first_key, first_value = holder.of(block, len(key), key.dtype)
        if attention_mask is not None:
            seen = True if attention_mask.dtype == torch.bool else 0.0
            attention_mask = nn.functional.pad(attention_mask, (first_key.shape[2], 0), value=seen)
        key, value = torch.cat([first_key, key], 2), torch.cat([first_value, value], 2)
        causal = False
    result: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, is_causal=causal, **settings
    )
    return result


def _compute(module: nn.Module, *_: object) -> None:
    module.get_submodule("prefix").compute()  # type: ignore[operator]


def _attention_shapes(model: nn.Module) -> list[tuple[nn.Module, int, int]]:
    """The attention module of every block with its key heads and their width."""
    found: dict[int, tuple[nn.Module, int, int]] = {}
    marked = [(part, index) for index, (_, block) in enumerate(blocks(model)) for part in block.modules()]
    for part, index in marked:
        setattr(part, SLOT, (found, index))
    config: Any = model.config
    before = config._attn_implementation
    config._attn_implementation = IMPLEMENTATION
    try:
        sample_pass(model)
    finally:
        config._attn_implementation = before
        for part, _ in marked:
            delattr(part, SLOT)
    expected = len(blocks(model))
    if len(found) != expected or len({shape[1:] for shape in found.values()}) != 1:
        raise FtbenchError(
            f"{type(model).__name__}: found {len(found)} of {expected} blocks whose attention can take a prefix; "
            "expected all, with heads of one size (DeBERTa computes attention by itself and cannot). "
            "Choose another method or another model."
        )
    return [found[index] for index in range(expected)]


def add_prefixes(model: nn.Module, tokens: int, hidden: int | None, zero: bool = False) -> None:
    """Give every block `tokens` trained keys and values; `hidden`: from a network of that width instead of a table.

    Draws from torch's global generator. `zero` starts with zero vectors, which still take attention from the tokens.
    """
    from peft import PrefixEncoder, PrefixTuningConfig
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATION, _attention)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
    shapes = _attention_shapes(model)
    _, heads, width = shapes[0]
    config = PrefixTuningConfig(
        num_virtual_tokens=tokens,
        token_dim=heads * width,
        num_layers=len(shapes),
        num_attention_heads=heads,
        num_transformer_submodules=1,
        prefix_projection=hidden is not None,
        encoder_hidden_size=hidden,
        init_weights="zero" if zero else None,
    )
    prefixes = Prefixes(PrefixEncoder(config), tokens, heads, width)
    backbone = model.get_submodule(backbone_prefix(model).removesuffix("."))
    backbone.add_module("prefix", prefixes)
    backbone.register_forward_pre_hook(_compute)
    for index, (module, _, _) in enumerate(shapes):
        setattr(module, SLOT, (prefixes, index))
    model.config._attn_implementation = IMPLEMENTATION  # type: ignore[union-attr]
