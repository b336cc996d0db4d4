"""Forward passes without gradients: logits for a set of tokenised rows."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ftbench.training.batches import collate, padding_multiple
from ftbench.training.examples import Encoded

if TYPE_CHECKING:
    import numpy as np
    import torch

# rows of a batch times their padded length: bounds memory whatever the lengths. A processor is faster with
# batches that stay in its caches, a GPU with large ones.
CPU_TOKENS, GPU_TOKENS = 1024, 32768
# what one batch more costs, in tokens: calls into torch, launches of kernels
CPU_START, GPU_START = 64, 4096
# largest difference of a logit in single precision that other batches, padding or order may make
BATCH_TOLERANCE = 1e-5


def device() -> torch.device:
    """The GPU of this process (`LOCAL_RANK` where several share a run), or the processor."""
    import torch

    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")


def autocast(place: torch.device, precision: str) -> Any:
    """A context of mixed precision; nothing for fp32."""
    import torch

    if precision == "fp32":
        return nullcontext()
    return torch.autocast(place.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def batching(place: torch.device, precision: str) -> dict[str, Any]:
    """How `logits` batches rows on this device, to be recorded with what it gave."""
    cpu, multiple = place.type == "cpu", padding_multiple(place)
    rounded = "" if multiple == 1 else f", in multiples of {multiple}"
    return {
        "most_tokens": CPU_TOKENS if cpu else GPU_TOKENS,
        "padded_to": f"the batch's longest row{rounded}",
        "device": place.type,
        "precision": precision,
        "tolerance": BATCH_TOLERANCE if precision == "fp32" else None,
    }


def length_batches(lengths: np.ndarray, place: torch.device) -> list[np.ndarray]:
    """The rows of each batch, rows of similar length together, none with more tokens than the device takes well.

    Of all divisions of the rows in order of length this one costs least: tokens with padding, and a start a batch.
    Found by dynamic programming over the last row of a batch, in O(rows x rows of a batch).
    """
    import numpy as np

    cpu, multiple = place.type == "cpu", padding_multiple(place)
    most, start = (CPU_TOKENS, CPU_START) if cpu else (GPU_TOKENS, GPU_START)
    order = np.argsort(lengths, kind="stable")
    padded = np.maximum(1, -(-lengths[order] // multiple) * multiple)
    cheapest = np.zeros(len(order) + 1)  # of the shortest rows up to here
    first = np.zeros(len(order) + 1, dtype=np.int64)  # row of the batch that ends here
    for end, longest in enumerate(padded.tolist(), start=1):
        begin = max(0, end - max(1, most // longest))
        costs = cheapest[begin:end] + longest * np.arange(end - begin, 0, -1)
        best = int(costs.argmin())
        first[end], cheapest[end] = begin + best, costs[best] + start
    batches, end = [], len(order)
    while end:
        batches.append(order[first[end] : end])
        end = int(first[end])
    return batches[::-1]


def logits(model: torch.nn.Module, data: Encoded, place: torch.device, precision: str = "fp32") -> np.ndarray:
    """fp32 logits (rows, labels) in the rows' order, computed in batches of similar length, model in eval mode.

    In single precision other batches, padding or order change no logit by more than `BATCH_TOLERANCE`.
    """
    import numpy as np
    import torch

    if len(data) == 0:
        return np.zeros((0, int(model.config.num_labels)), dtype=np.float32)  # type: ignore[union-attr,arg-type]
    found: np.ndarray | None = None
    was_training = model.training
    model.eval()
    waiting = length_batches(data.lengths, place)[::-1]
    with torch.inference_mode():
        while waiting:
            chosen = waiting.pop()
            batch = collate(data, chosen, place)
            try:
                with autocast(place, precision):
                    output = model(**batch.inputs).logits
            except torch.OutOfMemoryError:
                if len(chosen) == 1:
                    raise
                waiting += np.array_split(chosen, 2)[::-1]
                continue
            values = output.float().cpu().numpy()
            if found is None:
                found = np.empty((len(data), values.shape[1]), dtype=np.float32)
            found[chosen] = values
    model.train(was_training)
    assert found is not None
    return found
