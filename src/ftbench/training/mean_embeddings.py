"""Embeddings of whole texts by a pretrained model as it is: the mean of its last layer over a text's tokens.

The stage `shift` compares sets of texts by them, and attacks compare changed texts with the original. No head, no
training, no prompt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.training.examples import Encoded, Examples

if TYPE_CHECKING:
    import numpy as np
    import torch


def load_encoder(snapshot: Path, place: torch.device) -> torch.nn.Module:
    """A model's folder without its head, in single precision and eval mode; of an encoder-decoder the encoder."""
    import torch
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(
        snapshot, local_files_only=True, trust_remote_code=False, dtype=torch.float32
    )
    encoder: torch.nn.Module = (model.get_encoder() if model.config.is_encoder_decoder else model).to(place).eval()
    return encoder


def mean_states(model: torch.nn.Module, data: Encoded, place: torch.device) -> np.ndarray:
    """(rows, width) fp32, in the rows' order: means of the last hidden states over a row's tokens, special ones
    included."""
    import numpy as np
    import torch

    from ftbench.training.batches import collate
    from ftbench.training.inference import length_batches

    found = np.zeros((len(data), int(model.config.hidden_size)), dtype=np.float32)  # type: ignore[union-attr,arg-type]
    with torch.inference_mode():
        for rows in length_batches(data.lengths, place):
            inputs = collate(data, rows, place).inputs
            states = model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
            found[rows] = ((states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).cpu().numpy()
    return found


class MeanEmbeddings:
    """A snapshot ready to embed texts."""

    def __init__(self, snapshot: Path, max_length: int) -> None:
        from ftbench.training.inference import device
        from ftbench.training.models import load_tokenizer

        self.max_length, self.place = max_length, device()
        self.tokenizer, self.model = load_tokenizer(snapshot), load_encoder(snapshot, self.place)

    def of(self, texts: Examples) -> np.ndarray:
        """(rows, width) fp32, in the rows' order; both texts of a pair are read together, as classifiers do."""
        from ftbench.training.examples import encode

        return mean_states(self.model, encode(self.tokenizer, texts, self.max_length), self.place)
