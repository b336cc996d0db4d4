"""Trained vectors among the word embeddings: room for them is made in the token ids, and they are put there.

In encoders they stand behind the first token, so that heads that read position 0 still read [CLS]; in decoders
they stand in front. Because ids stay ids, padding and the last token are found as ever.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ftbench.config.errors import FtbenchError
from ftbench.training.layers import backbone_prefix, blocks


class Prompt(nn.Module):
    """Vectors (virtual tokens, width) from a table or a network over one, and where they go."""

    def __init__(self, encoder: nn.Module, tokens: int, place: int, longest: int | None) -> None:
        super().__init__()
        self.encoder, self.tokens, self.place, self.longest = encoder, tokens, place, longest
        self.register_buffer("positions", torch.arange(tokens), persistent=False)
        self.pending = False  # the next look-up of embeddings is that of extended ids

    def vectors(self) -> torch.Tensor:
        found: torch.Tensor = self.encoder(self.get_buffer("positions")[None])[0]
        return found

    def widened(self, sequence: torch.Tensor, filler: torch.Tensor) -> torch.Tensor:
        """A batch (rows, tokens, ...) with `filler` (rows or 1, virtual tokens, ...) in the prompt's place."""
        filler = filler.to(sequence.dtype).expand(len(sequence), self.tokens, *sequence.shape[2:])
        return torch.cat([sequence[:, : self.place], filler, sequence[:, self.place :]], 1)


def _make_room(model: nn.Module, arguments: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    prompt: Prompt = model.get_submodule(backbone_prefix(model) + "prompt")  # type: ignore[assignment]
    given = dict(given)
    if given.get("input_ids") is not None:
        ids = given["input_ids"]
        if prompt.longest is not None and ids.shape[1] + prompt.tokens > prompt.longest:
            raise FtbenchError(
                f"found {ids.shape[1]} tokens and {prompt.tokens} virtual ones; the model has {prompt.longest} "
                f"positions. Set `training.max_length` to at most {prompt.longest - prompt.tokens}."
            )
        given["input_ids"] = prompt.widened(ids, ids[:, :1])  # any id that is not padding
        prompt.pending = True
    else:
        given["inputs_embeds"] = prompt.widened(given["inputs_embeds"], prompt.vectors())
    for name in ("attention_mask", "token_type_ids"):
        if given.get(name) is not None:
            first = given[name][:, :1]
            given[name] = prompt.widened(given[name], torch.ones_like(first) if name == "attention_mask" else first)
    return arguments, given


def _put_in(embedding: nn.Module, _: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
    (prompt,) = embedding.prompt_slot  # type: ignore[misc]
    if not prompt.pending:
        return None
    prompt.pending = False
    rest = torch.cat([output[:, : prompt.place], output[:, prompt.place + prompt.tokens :]], 1)
    widened: torch.Tensor = prompt.widened(rest, prompt.vectors())
    return widened


def _positions(model: nn.Module) -> int | None:
    """How many positions a learnt table of them has; None where there is no table."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in ("position_embeddings", "wpe"):
            padding = module.padding_idx  # RoBERTa counts from behind it
            return module.num_embeddings - (0 if padding is None else padding + 1)
    return None


def _decodes(model: nn.Module) -> bool:
    return any(getattr(part, "is_causal", False) for _, block in blocks(model) for part in block.modules())


def add_prompt(model: nn.Module, tokens: int, init: str, encoder: str, hidden: int | None) -> None:
    """Give the model `tokens` trained vectors; `init`: `vocabulary` or `random`; `encoder`: `none`, or the network
    (`mlp`, `lstm`) over a table that P-tuning trains. Draws from torch's global generator."""
    from peft import PromptEmbedding, PromptEncoder, PromptEncoderConfig, PromptTuningConfig

    words: nn.Embedding = model.get_input_embeddings()  # type: ignore[operator]
    sizes: dict[str, Any] = {
        "num_virtual_tokens": tokens,
        "token_dim": words.embedding_dim,
        "num_transformer_submodules": 1,
    }
    if encoder == "none":
        start = "SAMPLE_VOCAB" if init == "vocabulary" else "RANDOM"
        table = PromptEmbedding(PromptTuningConfig(prompt_tuning_init=start, **sizes), words)
    else:
        width = hidden or words.embedding_dim
        kind = encoder.upper()
        config = PromptEncoderConfig(encoder_reparameterization_type=kind, encoder_hidden_size=width, **sizes)
        table = PromptEncoder(config)
    prompt = Prompt(table, tokens, 0 if _decodes(model) else 1, _positions(model))
    model.get_submodule(backbone_prefix(model).removesuffix(".")).add_module("prompt", prompt)
    words.prompt_slot = (prompt,)  # type: ignore[assignment]  # a tuple, so that it counts as no child
    words.register_forward_hook(_put_in)
    model.register_forward_pre_hook(_make_room, with_kwargs=True)
