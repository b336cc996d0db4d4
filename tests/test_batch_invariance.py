"""Logits do not depend on what a row is batched with: batch size, padding and order change rounding at most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_families import FAMILIES, family_model

from ftbench.training import inference
from ftbench.training.batches import collate
from ftbench.training.examples import Encoded
from ftbench.training.inference import BATCH_TOLERANCE, batching, logits

CPU = torch.device("cpu")


def rows_of_every_length() -> Encoded:
    generator = np.random.default_rng(0)
    lengths = generator.permutation([*range(1, 31), 5, 5, 17])
    ids = [generator.integers(3, 60, length) for length in lengths]
    return Encoded(ids, None, None, np.array(lengths, dtype=np.int64), 0)


def taken(data: Encoded, order: np.ndarray) -> Encoded:
    return Encoded([data.ids[row] for row in order], None, None, data.lengths[order], data.padding_id)


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_size_padding_and_order_change_no_logit_beyond_the_tolerance(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = family_model(family).eval(), rows_of_every_length()
    found = logits(model, data, CPU)
    with torch.inference_mode():  # each row alone and without any padding: the definition
        alone = [model(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy() for ids in data.ids]
    assert np.abs(found - np.stack(alone)).max() <= BATCH_TOLERANCE
    assert np.ptp(found, axis=0).max() > 100 * BATCH_TOLERANCE  # rows differ by far more than rounding

    order = np.random.default_rng(1).permutation(len(data))
    assert np.abs(logits(model, taken(data, order), CPU) - found[order]).max() <= BATCH_TOLERANCE
    for most in (1, 40, 100_000):
        monkeypatch.setattr(inference, "CPU_TOKENS", most)
        assert np.abs(logits(model, data, CPU) - found).max() <= BATCH_TOLERANCE
    with torch.inference_mode():
        padded = model(**collate(data, np.arange(len(data)), CPU, 8).inputs).logits.numpy()
    assert np.abs(padded - found).max() <= BATCH_TOLERANCE


def test_a_model_that_reads_its_padding_is_seen() -> None:
    model, data = family_model("bert").eval(), rows_of_every_length()
    found = logits(model, data, CPU)
    with torch.inference_mode():
        inputs = collate(data, np.arange(len(data)), CPU, 8).inputs
        unmasked = model(**{**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}).logits.numpy()
    assert np.abs(unmasked - found).max() > BATCH_TOLERANCE


def test_padding_to_a_multiple_ends_where_rows_do() -> None:
    """A model with 30 positions cannot take 32 tokens, however well those would suit the device."""
    data, every = rows_of_every_length(), np.arange(33)
    assert collate(data, every, CPU, 8).inputs["input_ids"].shape[1] == 32
    bounded = replace(data, longest=30)
    assert collate(bounded, every, CPU, 8).inputs["input_ids"].shape[1] == 30
    short = every[data.lengths <= 11]
    assert collate(bounded, short, CPU, 8).inputs["input_ids"].shape[1] == 16
    assert collate(bounded, short, CPU).inputs["input_ids"].shape[1] == 11


def test_the_batching_of_predictions_is_recorded_with_their_tolerance() -> None:
    assert batching(CPU, "fp32") == {
        "most_tokens": inference.CPU_TOKENS,
        "padded_to": "the batch's longest row",
        "device": "cpu",
        "precision": "fp32",
        "tolerance": BATCH_TOLERANCE,
    }
    assert batching(CPU, "bf16")["tolerance"] is None  # rounding of half precision depends on the batch
