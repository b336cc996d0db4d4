"""A tiny prior task for tests: rows, a model that knows them a little, and the pool as a run gets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

from ftbench.stage import execute
from ftbench.stages.pretrain_samples import Spec
from ftbench.tables.store import read_table
from ftbench.training.examples import Encoded, Examples
from ftbench.training.prior_task import PriorTask
from ftbench.training.weights import plain_state

LABELS = ["a", "b", "c"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(40))]


def snapshot(folder: Path) -> Path:
    """A model folder: one block of width 8 with a masked-language head, and a tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    return folder


def prior_rows(pool: int, evaluation: int, seed: int = 0, kind: str = "classification") -> pa.Table:
    """Rows as stage `prepare` leaves them; texts of 3 to 9 words, all different."""
    draw = np.random.default_rng(seed)
    texts, seen = [], set()
    while len(texts) < pool + evaluation:
        text = " ".join(f"w{word}" for word in draw.integers(0, 40, draw.integers(3, 10)))
        if text not in seen:
            seen.add(text)
            texts.append(text)
    count = len(texts)
    return pa.table(
        {
            "split": ["pool"] * pool + ["evaluation"] * evaluation,
            "uid": [f"u{number}" for number in range(count)],
            "text_a": texts,
            "text_b": pa.nulls(count, pa.string()),
            "label": pa.array([LABELS[k] for k in draw.integers(0, 3, count)] if kind == "classification" else None)
            if kind == "classification"
            else pa.nulls(count, pa.string()),
            "value": pa.array(draw.random(count)) if kind == "regression" else pa.nulls(count, pa.float64()),
            "aux": ['{"domain": "even"}' if number % 2 else '{"domain": "odd"}' for number in range(count)],
        }
    )


class Materials:
    """A folder with everything that stage `pretrain_samples` reads."""

    def __init__(self, folder: Path, rows: pa.Table, kind: str = "classification") -> None:
        from ftbench.training.models import new_classifier
        from ftbench.training.weights import save_weights

        self.folder, self.kind = folder, kind
        snapshot(folder / "snapshot")
        (folder / "base.json").write_text("{}")
        self.labels = LABELS if kind == "classification" else []
        if kind in ("classification", "regression"):
            self.model = new_classifier(folder / "snapshot", self.labels, kind, 1, 0.0)
            for parameter in self.model.parameters():  # away from chance, so that losses differ
                parameter.data *= 4
            save_weights(plain_state(self.model), folder / "start.safetensors")
        self.write(rows)

    def write(self, rows: pa.Table) -> None:
        parquet.write_table(rows, self.folder / "prepared.parquet", row_group_size=64)

    @property
    def inputs(self) -> dict[str, Path]:
        names = {"base": "base.json", "prepared": "prepared.parquet", "start": "start.safetensors"}
        return {name: self.folder / file for name, file in names.items()}

    def spec(self, **changes: Any) -> dict[str, Any]:
        given = {
            "prior": "prior", "model": "tiny", "kind": self.kind, "labels": self.labels, "pool": "pool",
            "evaluation": "evaluation", "max_length": 16,
        }  # fmt: skip
        return Spec(**{**given, **changes}).model_dump(mode="json")

    def run(self, **changes: Any) -> pa.Table:
        """The table that the stage writes."""
        target = self.folder / "samples.parquet"
        execute("pretrain_samples", self.spec(**changes), self.inputs, {"samples": target}, self.folder / "work", "s")
        return read_table("pretrain_samples", target)


def numbers_of(examples: Examples) -> Encoded:
    """Texts that are token numbers, as a tokenizer would give them."""
    ids = [np.array([int(word) for word in text.split()], dtype=np.int64) for text in examples.text_a]
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    return Encoded(ids, [np.zeros_like(row) for row in ids], examples.targets, lengths, 0)


def tiny_prior(model: torch.nn.Module, rows: int = 60, **changes: Any) -> PriorTask:
    """A pool for a model with a vocabulary of 60; its labels are what the model says, but for every third row."""
    from ftbench.training.inference import logits

    draw = np.random.default_rng(11)
    texts = [" ".join(str(number) for number in draw.integers(5, 60, draw.integers(3, 10))) for _ in range(rows)]
    uids = [f"p{number}" for number in range(rows)]
    place = next(model.parameters()).device
    found = logits(model, numbers_of(Examples(uids, texts, None, None)), place)
    said = found.argmax(axis=1).astype(np.int64)
    correct = np.arange(rows) % 3 != 0
    targets = np.where(correct, said, (said + 1) % found.shape[1])
    shares = np.exp(found - found.max(1, keepdims=True))
    losses = -np.log((shares / shares.sum(1, keepdims=True))[np.arange(rows), targets]).astype(np.float64)
    given: dict[str, Any] = {
        "kind": "classification", "pool": Examples(uids, texts, None, targets), "encode": numbers_of,
        "losses": losses, "correct": correct, "weights": {k: v.clone() for k, v in plain_state(model).items()},
        "same_labels": True, "logits": found, "aux": {"label": [str(target) for target in targets]},
    }  # fmt: skip
    return PriorTask(**{**given, **changes})
