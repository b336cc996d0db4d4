"""A small network beside a frozen model, which answers from several depths of that model at once.

Method `levi` adds it to a model and lets its answer take the place of the head's. The frozen model is only watched:
its hidden states are pooled, normalised and read, and no gradient goes through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ftbench.config.errors import FtbenchError
from ftbench.training.layers import backbone_prefix, blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "layer_views"  # the module's name in the model


def depths(blocks: int, views: int) -> list[int]:
    """Numbers of the blocks that are read, from 0: views at equal distances, the last one at the top."""
    chosen = {max(1, round(blocks * part / views)) for part in range(1, views + 1)}
    return sorted(number - 1 for number in chosen)


def pooled(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the tokens that are not padding, in fp32. states: (rows, tokens, width); mask: (rows, tokens)."""
    weights = mask.to(torch.float32)[..., None]
    return (states.float() * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class LayerViews(torch.nn.Module):
    """A small transformer on the tokens and one answer for each depth, from its states and those of the depth."""

    in_use: torch.Tensor

    def __init__(self, words: int, tokens: int, width: int, small: int, labels: int, views: int) -> None:
        super().__init__()
        self.in_use = torch.nn.Buffer(torch.zeros((), dtype=torch.bool))
        self.small = small
        if small:
            self.words = torch.nn.Embedding(words, small)
            self.positions = torch.nn.Embedding(tokens, small)
            self.block = torch.nn.TransformerEncoderLayer(small, 4, 4 * small, dropout=0.1, batch_first=True)
            self.block.self_attn.dropout = 0.0  # no module, so that nothing that switches dropout off would find it
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(views))
        self.answers = torch.nn.ModuleList(torch.nn.Linear(width + small, labels) for _ in range(views))
        self.seen: dict[int, torch.Tensor] = {}

    def task_view(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What the small network says of the tokens: (rows, small)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        states = self.block(self.words(ids) + self.positions(places), src_key_padding_mask=mask == 0)
        return pooled(states, mask)

    def forward(self, views: Sequence[torch.Tensor], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean over depths of their logits (rows, labels)."""
        own = self.task_view(ids, mask) if self.small else None
        answers = []
        for view, norm, answer in zip(views, self.norms, self.answers, strict=True):
            features = norm(pooled(view, mask))
            answers.append(answer(features if own is None else torch.cat([features, own], dim=-1)))
        return torch.stack(answers).mean(dim=0)


def attach(model: torch.nn.Module, views: int, small: int) -> None:
    """Add the network to `model`; its answer takes the place of the head's where the buffer `in_use` is true."""
    config: Any = model.config
    found = blocks(model)
    chosen = depths(len(found), views)
    network = LayerViews(
        int(config.vocab_size),
        int(config.max_position_embeddings),
        int(config.hidden_size),
        small,
        int(config.num_labels),
        len(chosen),
    )
    model.add_module(NAME, network)
    for number in chosen:

        def keep(_module: torch.nn.Module, _given: Any, output: Any, number: int = number) -> None:
            network.seen[number] = (output if isinstance(output, torch.Tensor) else output[0]).detach()

        found[number][1].register_forward_hook(keep)
    backbone = model.get_submodule(backbone_prefix(model).removesuffix("."))

    def calm(_module: torch.nn.Module, _given: Any, _named: Any) -> None:
        backbone.eval()  # the frozen model answers alike in training and evaluation: without dropout

    def answer(_module: torch.nn.Module, _given: Any, named: dict[str, Any], output: Any) -> Any:
        seen = [network.seen.pop(number) for number in chosen]
        if bool(network.in_use):
            if named.get("input_ids") is None:
                raise FtbenchError("`levi`: found a pass without `input_ids`; the small network reads tokens itself")
            output.logits = network(seen, named["input_ids"], named["attention_mask"])
        return output

    model.register_forward_pre_hook(calm, with_kwargs=True)
    model.register_forward_hook(answer, with_kwargs=True)
