"""Stage `shift`: how far every evaluation set of a task is from its training rows, before any model is fine-tuned.

Words, lengths and labels of all rows; embeddings of a bounded, seeded draw of distinct texts. It sees no score, so a
new seed or method never runs it again: what the baseline loses is added by `compare`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.strict import Strict

if TYPE_CHECKING:
    import numpy as np

    from ftbench.data.near_duplicates import Texts
    from ftbench.training.mean_embeddings import MeanEmbeddings

FEWEST = 20  # distinct texts from which on embeddings are compared


class Spec(Strict):
    task: str
    model: str  # the encoder
    rows: int
    max_length: int


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Inputs `train`, `evaluation`, `audit`, and `base` of the encoder; output `similarity`."""
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.tables.store import write_table
    from ftbench.training.mean_embeddings import MeanEmbeddings

    encoder = MeanEmbeddings(inputs["base"].parent / "snapshot", spec.max_length)
    train = _Sample(read_parquet_file(inputs["train"]), "train", spec, encoder)
    evaluation = read_parquet_file(inputs["evaluation"])
    described = json.loads(inputs["audit"].read_text(encoding="utf-8"))["sets"]
    rows = []
    for name, about in described.items():
        part = evaluation.filter(compute.equal(evaluation.column("eval_set"), name))
        rows.append(_compared(spec, train, _Sample(part, name, spec, encoder), about))
        print(f"{name}: {rows[-1]['distinct_rows']} distinct texts", flush=True)
    write_table("similarity", rows, outputs["similarity"])


class _Sample:
    """What is compared of one set of rows."""

    def __init__(self, table: Any, name: str, spec: Spec, encoder: MeanEmbeddings) -> None:
        import numpy as np

        from ftbench.data.near_duplicates import normal_texts
        from ftbench.training.seeds import numpy_generator

        texts = normal_texts(table.column("text_a").to_pylist(), table.column("text_b").to_pylist())
        first: dict[Texts, int] = {}
        for row, value in enumerate(texts):
            first.setdefault(value, row)
        words = [" ".join(value).split() for value in texts]
        self.name = name
        self.words = Counter(word for row in words for word in row)
        self.lengths = np.array([len(row) for row in words], dtype=np.float64)
        self.labels = Counter(label for label in table.column("label").to_pylist() if label is not None)
        self.distinct = len(first)
        drawn = numpy_generator(0, "shift", spec.task, name).permutation(list(first.values()))[: spec.rows]
        self.embeddings = _embedded(table.take(np.sort(drawn)), encoder)


def _embedded(table: Any, encoder: MeanEmbeddings) -> np.ndarray:
    from ftbench.training.examples import from_table

    return encoder.of(from_table(table, [], "text")).astype("float64")


def _compared(spec: Spec, train: _Sample, other: _Sample, about: Mapping[str, Any]) -> dict[str, Any]:
    from ftbench.statistics import similarity

    to = about["map"]["to"] if about.get("map") else {}
    read = Counter[str]()  # the training labels in the labels of the set
    for label, count in train.labels.items():
        read[to.get(label, label)] += count
    comparable = about["kind"] == "classification" and about["role"] != "prior"
    enough = min(len(train.embeddings), len(other.embeddings)) >= FEWEST
    sides = (train.embeddings, other.embeddings)
    return {
        "task": spec.task,
        "eval_set": other.name,
        "role": about["role"],
        "encoder": spec.model,
        "embedded_rows": len(other.embeddings),
        "distinct_rows": other.distinct,
        "centroid_cosine": similarity.centroid_cosine(*sides) if enough else None,
        "domain_auroc": similarity.domain_auroc(*sides) if enough else None,
        "oov_share": similarity.out_of_vocabulary(train.words, other.words),
        "word_divergence": similarity.jensen_shannon(train.words, other.words),
        "train_words": float(train.lengths.mean()),
        "words": float(other.lengths.mean()),
        "length_distance": similarity.kolmogorov_smirnov(train.lengths, other.lengths),
        "label_distance": similarity.total_variation(read, other.labels) if comparable else None,
    }
