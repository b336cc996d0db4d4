"""Embeddings of whole texts by a pretrained model as it is: the mean of its last layer over a text's tokens.

The stage `shift` compares sets of texts by them. No head, no training, no prompt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.training.examples import Examples

if TYPE_CHECKING:
    import numpy as np


class MeanEmbeddings:
    """A snapshot ready to embed texts; of an encoder-decoder the encoder."""

    def __init__(self, snapshot: Path, max_length: int) -> None:
        import torch
        from transformers import AutoModel

        from ftbench.training.inference import device
        from ftbench.training.models import load_tokenizer

        self.max_length, self.place = max_length, device()
        self.tokenizer = load_tokenizer(snapshot)
        model: Any = AutoModel.from_pretrained(
            snapshot, local_files_only=True, trust_remote_code=False, dtype=torch.float32
        )
        self.model = (model.get_encoder() if model.config.is_encoder_decoder else model).to(self.place).eval()

    def of(self, texts: Examples) -> np.ndarray:
        """(rows, width) fp32, in the rows' order; both texts of a pair are read together, as classifiers do."""
        import numpy as np
        import torch

        from ftbench.training.batches import collate
        from ftbench.training.examples import encode
        from ftbench.training.inference import length_batches

        data = encode(self.tokenizer, texts, self.max_length)
        found = np.zeros((len(data), int(self.model.config.hidden_size)), dtype=np.float32)
        with torch.inference_mode():
            for rows in length_batches(data.lengths, self.place):
                inputs = collate(data, rows, self.place).inputs
                states = self.model(**inputs).last_hidden_state
                mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
                found[rows] = ((states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).float().cpu().numpy()
        return found
