"""Judging labelled rows with a masked language model: each label is a word, and the text has a gap for it.

A word may be several tokens, if it is as many for every label: then the text has a gap for each of them. FLOW calls
this; its token weights are those of the gaps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch

    from ftbench.training.examples import Examples
    from ftbench.training.method import Context


def verbaliser_losses(context: Context, rows: Examples, template: str, words: Mapping[str, str]) -> torch.Tensor:
    """-log p of each token of the row's label word (rows, tokens), float64, in the rows' order.

    p is a softmax over the tokens that the label words have at that place, with all gaps of the row open at once: for
    words of one token, over the labels. The model is the base checkpoint with its own language-model head; one without
    is refused where it is loaded.
    """
    import torch
    from torch.nn import functional

    from ftbench.training.batches import collate
    from ftbench.training.examples import Examples, encode
    from ftbench.training.inference import length_batches

    tokenizer, place = _tokenizer(context), next(context.model.parameters()).device
    tokens = torch.tensor(label_words(tokenizer, _labels(context), words), device=place)
    gaps = tokens.shape[1]
    choices = [torch.unique(column, return_inverse=True) for column in tokens.T]
    second = rows.text_b or [""] * len(rows)
    mask = " ".join([tokenizer.mask_token] * gaps)
    texts = [template.format(text_a=a, text_b=b, mask=mask) for a, b in zip(rows.text_a, second, strict=True)]
    # a cut text may lose its gap: leave room by cutting the texts, not the template
    data = encode(tokenizer, Examples(rows.uids, texts, None, rows.targets), context.training.max_length)
    without = sum(int((row == tokenizer.mask_token_id).sum() != gaps) for row in data.ids)
    if without:
        raise FtbenchError(
            f"flow, `template`: found {without} rows without exactly {'one gap' if gaps == 1 else f'{gaps} gaps'} "
            f"within `training.max_length` of {context.training.max_length} tokens. Put {{mask}} first, or raise "
            "`max_length`."
        )
    assert context.language_model is not None
    model = context.language_model("masked").to(place).eval()
    losses = torch.empty((len(rows), gaps), dtype=torch.float64)
    with torch.no_grad():
        for chosen in length_batches(data.lengths, place):
            batch = collate(data, chosen, place)
            open_gaps = batch.inputs["input_ids"] == tokenizer.mask_token_id
            logits = model(**batch.inputs).logits[open_gaps].view(len(chosen), gaps, -1).double()
            assert batch.targets is not None
            for gap, (candidates, number) in enumerate(choices):
                found = functional.cross_entropy(logits[:, gap, candidates], number[batch.targets], reduction="none")
                losses[chosen, gap] = found.cpu()
    return losses


def guessing_loss(context: Context, words: Mapping[str, str]) -> float:
    """The mean loss over the gaps of a model that finds all tokens of a place equally likely: log C for words of one
    token and C labels."""
    places = list(zip(*label_words(_tokenizer(context), _labels(context), words), strict=True))
    return sum(math.log(len(set(place))) for place in places) / len(places)


def _tokenizer(context: Context) -> Any:
    if context.language_model is None or context.tokenizer is None:
        raise FtbenchError("flow, `head: verbaliser`: found no language model in this run")
    if context.tokenizer.mask_token_id is None:
        raise FtbenchError(
            "flow, `head: verbaliser`: found a model whose tokenizer has no mask token; expected a masked language "
            "model such as BERT. Use `head: linear_probe`."
        )
    return context.tokenizer


def _labels(context: Context) -> list[str]:
    return [str(name) for _, name in sorted(dict(context.model.config.id2label).items())]  # type: ignore[union-attr,arg-type]


def label_words(tokenizer: Any, names: list[str], words: Mapping[str, str]) -> list[list[int]]:
    """The tokens of each label's word, in the order of the head's labels, as many for each label."""
    if set(words) != set(names):
        raise FtbenchError(f"flow, `words`: found words for {sorted(words)}; expected one for each of {names}")
    tokens: list[list[int]] = []
    for name in names:
        pieces = list(tokenizer(words[name], add_special_tokens=False)["input_ids"])
        if not pieces or tokenizer.unk_token_id in pieces:
            raise FtbenchError(
                f"flow, `words.{name}`: found `{words[name]}`, which is no token that the model knows; expected a word "
                "of its vocabulary"
            )
        if tokens and len(pieces) != len(tokens[0]):
            raise FtbenchError(
                f"flow, `words.{name}`: found `{words[name]}`, {len(pieces)} tokens, beside `{words[names[0]]}`, "
                f"{len(tokens[0])}; expected words of equally many tokens, because the number of gaps would tell the "
                "label. Take other words, one token each where you can."
            )
        tokens.append(pieces)
    if len({tuple(pieces) for pieces in tokens}) != len(tokens):
        raise FtbenchError(f"flow, `words`: found the same word for two labels in {dict(words)}")
    shared = [number for number, place in enumerate(zip(*tokens, strict=True), 1) if len(set(place)) == 1]
    if shared:
        raise FtbenchError(
            f"flow, `words`: found the same token for every label at place {shared[0]} of {dict(words)}, which says "
            "nothing about the label. Put it into `template` and take it out of the words."
        )
    return tokens
