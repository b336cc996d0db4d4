"""What a training without meaning is made of: rows, a classifier and a prior task of random numbers, for timing.

`method_cost` imports it. Sizes decide what a step costs; values do not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from taking_turns import another_turn

LABELS = 3


def random_rows(options: argparse.Namespace, rows: int, seed: int = 0) -> Any:
    """Rows of one length whose words are the numbers of tokens."""
    import numpy as np

    from ftbench.training.examples import Examples

    generator = np.random.default_rng(seed)
    texts = [" ".join(map(str, generator.integers(5, options.words, options.tokens))) for _ in range(rows)]
    return Examples([f"{seed}/{number}" for number in range(rows)], texts, None, generator.integers(0, LABELS, rows))


def numbered(examples: Any) -> Any:
    """Such rows as a tokenizer would give them."""
    import numpy as np

    from ftbench.training.examples import Encoded

    ids = [np.array([int(word) for word in text.split()], dtype=np.int64) for text in examples.text_a]
    lengths = np.array([len(row) for row in ids])
    return Encoded(ids, [np.zeros_like(row) for row in ids], examples.targets, lengths, 0)


def random_model(options: argparse.Namespace) -> Any:
    """A BERT classifier of the asked-for size, equal in every process."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=options.words, hidden_size=options.hidden, num_hidden_layers=options.layers,
            num_attention_heads=options.heads, intermediate_size=4 * options.hidden,
            max_position_embeddings=max(128, 2 * options.tokens),  # some methods add positions
            num_labels=LABELS,
        )
    )  # fmt: skip


def random_prior(model: Any, options: argparse.Namespace) -> Any:
    """A pool of rows as long as the task's, some of which the model gets right."""
    import numpy as np

    from ftbench.training.prior_task import PriorTask
    from ftbench.training.weights import plain_state

    rows = 8 * options.batch_size
    pool, generator = random_rows(options, rows, seed=1), np.random.default_rng(2)
    return PriorTask(
        kind="classification", pool=pool, encode=numbered, losses=generator.random(rows) + 0.1,
        correct=generator.random(rows) < 0.7, weights={key: value.clone() for key, value in plain_state(model).items()},
        same_labels=True, logits=generator.normal(size=(rows, LABELS)).astype(np.float32),
        aux={"label": [str(target) for target in pool.targets]},
    )  # fmt: skip


def pass_in_turns(_: str, pipe: Connection, options: argparse.Namespace) -> None:
    """One process of a race: seconds of a forward pass, a backward pass, and one through a frozen encoder."""
    import torch

    from ftbench.training.inference import autocast, device
    from ftbench.training.layers import is_head
    from ftbench.training.optimization import resolved_precision

    torch.set_num_threads(options.threads)
    place = device()
    model = random_model(options).to(place).train()
    rows = numbered(random_rows(options, options.batch_size))
    inputs = {"input_ids": torch.tensor([row.tolist() for row in rows.ids], device=place)}
    labels = torch.tensor(rows.targets, device=place)
    lowest = next(model.parameters())
    precision = resolved_precision(options.precision, place)

    def timed(call: Callable[[], Any]) -> tuple[float, Any]:
        began = time.perf_counter()
        result = call()
        if place.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began, result

    def loss() -> Any:
        with autocast(place, precision):
            return model(**inputs, labels=labels).loss

    while another_turn(pipe):
        forward, found = timed(loss)
        backward, _ = timed(found.backward)
        for key, parameter in model.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(parameter is lowest or is_head(key, model))
        found = loss()
        lowest_alone, _ = timed(found.backward)
        for parameter in model.parameters():
            parameter.grad = None
            parameter.requires_grad_(True)
        pipe.send((forward, backward, lowest_alone))
    pipe.send(0.0)
