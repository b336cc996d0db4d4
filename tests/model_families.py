"""Tiny random classifiers of every supported family, built from configurations without any download.

MiniLM encoders are of BERT's class, with as many heads as BERT-base on half its width. DeBERTa v3 is of the class of
v2, with shared projections of relative positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

FAMILIES = ("bert", "roberta", "distilbert", "deberta-v2", "deberta-v3", "electra", "modernbert", "llama", "gpt2")
SHAPES = (*FAMILIES, "minilm")  # where widths and heads matter too: groups, places, and methods that train
_BERT_LIKE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
_OWN: dict[str, dict[str, Any]] = {
    "bert": {**_BERT_LIKE, "max_position_embeddings": 40},
    "minilm": {**_BERT_LIKE, "hidden_size": 24, "num_attention_heads": 12, "intermediate_size": 96,  # 384, 12, 1536
               "max_position_embeddings": 40},
    "roberta": {**_BERT_LIKE, "max_position_embeddings": 40},
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 40},
    "deberta-v2": {**_BERT_LIKE, "max_position_embeddings": 40, "relative_attention": True,
                   "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    "deberta-v3": {**_BERT_LIKE, "max_position_embeddings": 40, "relative_attention": True,
                   "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "share_att_key": True,
                   "norm_rel_ebd": "layer_norm", "position_buckets": 8},
    "electra": {**_BERT_LIKE, "embedding_size": 8, "max_position_embeddings": 40},
    "modernbert": {**_BERT_LIKE, **_SPECIAL, "max_position_embeddings": 40},
    "llama": {**_BERT_LIKE, "max_position_embeddings": 40, "pad_token_id": 0},
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40, "pad_token_id": 0, "bos_token_id": 1,
             "eos_token_id": 2},
}  # fmt: skip


def family_model(family: str, labels: int = 3, seed: int = 3, **changes: Any) -> torch.nn.Module:
    """A classifier of a family with 3 blocks of width 16 (MiniLM: 24) and a vocabulary of 60."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    kind = {"minilm": "bert", "deberta-v3": "deberta-v2"}.get(family, family)
    config = AutoConfig.for_model(kind, vocab_size=60, num_labels=labels, **{**_OWN[family], **changes})
    build: Callable[[Any], torch.nn.Module] = AutoModelForSequenceClassification.from_config
    torch.manual_seed(seed)
    return build(config)
