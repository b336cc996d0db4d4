"""Judging labelled rows with a masked language model: each label is a word, and the text has a gap for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch

    from ftbench.training.examples import Examples
    from ftbench.training.method import Context


def verbaliser_losses(context: Context, rows: Examples, template: str, words: Mapping[str, str]) -> torch.Tensor:
    """-log p of each row's label (rows,), p a softmax over the label words at the gap, in the rows' order.

    The model is the base checkpoint with its own language-model head; one without is refused where it is loaded.
    """
    import torch
    from torch.nn import functional

    from ftbench.training.batches import collate
    from ftbench.training.examples import Examples, encode
    from ftbench.training.inference import length_batches

    if context.language_model is None or context.tokenizer is None:
        raise FtbenchError("flow, `head: verbaliser`: found no language model in this run")
    tokenizer = context.tokenizer
    place = next(context.model.parameters()).device
    names = [str(name) for _, name in sorted(dict(context.model.config.id2label).items())]  # type: ignore[union-attr,arg-type]
    ids = label_words(tokenizer, names, words)
    second = rows.text_b or [""] * len(rows)
    texts = [
        template.format(text_a=a, text_b=b, mask=tokenizer.mask_token) for a, b in zip(rows.text_a, second, strict=True)
    ]
    # a cut text may lose its gap: leave room by cutting the texts, not the template
    data = encode(tokenizer, Examples(rows.uids, texts, None, rows.targets), context.training.max_length)
    without = sum(int((row == tokenizer.mask_token_id).sum() != 1) for row in data.ids)
    if without:
        raise FtbenchError(
            f"flow, `template`: found {without} rows without exactly one gap within `training.max_length` of "
            f"{context.training.max_length} tokens. Put {{mask}} first, or raise `max_length`."
        )
    model = context.language_model("masked").to(place).eval()
    losses = torch.empty(len(rows), dtype=torch.float64)
    with torch.no_grad():
        for chosen in length_batches(data.lengths, place):
            batch = collate(data, chosen, place)
            gap = batch.inputs["input_ids"] == tokenizer.mask_token_id
            logits = model(**batch.inputs).logits[gap][:, ids].double()
            assert batch.targets is not None
            losses[chosen] = functional.cross_entropy(logits, batch.targets, reduction="none").cpu()
    return losses


def label_words(tokenizer: Any, names: list[str], words: Mapping[str, str]) -> list[int]:
    """The token of each label's word, in the order of the head's labels."""
    if set(words) != set(names):
        raise FtbenchError(f"flow, `words`: found words for {sorted(words)}; expected one for each of {names}")
    ids = []
    for name in names:
        pieces = tokenizer(words[name], add_special_tokens=False)["input_ids"]
        if len(pieces) != 1 or pieces[0] == tokenizer.unk_token_id:
            raise FtbenchError(
                f"flow, `words.{name}`: found `{words[name]}`, which is {len(pieces)} tokens or none that the model "
                "knows; expected a word that is one token"
            )
        ids.append(pieces[0])
    if len(set(ids)) != len(ids):
        raise FtbenchError(f"flow, `words`: found the same word for two labels in {dict(words)}")
    return ids
