"""Queries a second of an attack in full batches, against the same attack asking about one text at a time.

Both attack the same short texts with the same small encoder of random weights and must find the same results. The last
line is JSON. Run on a quiet machine: `python benchmarks/attacks.py [--examples 32] [--rounds 3]`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from typing import Any


def model_and_texts(examples: int) -> tuple[Any, Any, list[str]]:
    """A BERT of two blocks, its tokenizer of letters and words, and texts of eight words."""
    import numpy as np
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from ftbench.training.masked_language import word_tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list(letters), size=6)) for _ in range(500)]
    texts = [" ".join(generator.choice(words, size=8)) for _ in range(examples)]
    # misspellings with one other letter are known words, the rest are one unknown word
    edits = [
        word[:place] + letter + word[place + 1 :] for word in words for place in range(6) for letter in letters[:9]
    ]
    tokenizer = word_tokenizer([*words, *edits])
    torch.manual_seed(0)
    size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), **size)), tokenizer, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    import numpy as np
    import torch

    from ftbench.attacking.contract import Subject
    from ftbench.attacking.engine import attacked
    from ftbench.attacking.victim import ModelVictim
    from ftbench.attacks.pruthi import Pruthi

    class OneByOne(ModelVictim):
        """Asks the model about one row at a time."""

        def probabilities(self, inputs: Sequence[Any]) -> np.ndarray:
            return np.concatenate([super(OneByOne, self).probabilities([given]) for given in inputs])

    model, tokenizer, texts = model_and_texts(options.examples)
    place = torch.device("cpu")
    gold = ModelVictim(model, tokenizer, 32, place)
    labels = gold.probabilities(gold.inputs([(text, None) for text in texts])).argmax(axis=1)
    subjects = [Subject(str(row), text, None, int(labels[row])) for row, text in enumerate(texts)]
    attack = Pruthi(Pruthi.Config(stop_words="none"))
    rates: dict[str, list[float]] = {"batched": [], "one_by_one": []}
    found: dict[str, list[Any]] = {}
    for _ in range(options.rounds):
        for name, kind, together in (("one_by_one", OneByOne, 1), ("batched", ModelVictim, 8)):
            victim = kind(model, tokenizer, 32, place)
            clock = time.perf_counter()
            outcomes = [one for group in attacked(attack, subjects, victim, 0, together) for one in group]
            rates[name].append(victim.rows / (time.perf_counter() - clock))
            found[name] = [(one.uid, one.status, one.text_after, one.queries) for one in outcomes]
    medians = {name: sorted(values)[len(values) // 2] for name, values in rates.items()}
    print(
        json.dumps(
            {
                "queries_per_second": {name: round(value, 1) for name, value in medians.items()},
                "ratio": round(medians["batched"] / medians["one_by_one"], 2),
                "same_results": found["batched"] == found["one_by_one"],
                "queries": sum(one[3] for one in found["batched"]),
                "examples": options.examples,
                "load": round(os.getloadavg()[0], 1),
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
