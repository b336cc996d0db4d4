"""Mean squared gradients over one pass of the training rows: the empirical Fisher that prologues rank entries by.

They are squares of batch means, not of per-example gradients. The pass changes no weight and draws dropout from a
stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ftbench.training.batches import Batch

if TYPE_CHECKING:
    import torch

    from ftbench.training.method import Context


def parts(batch: Batch, count: int) -> Iterator[Batch]:
    """A batch in `count` micro-batches, or one for each row where it has fewer; the padding stays."""
    import numpy as np

    for places in np.array_split(np.arange(len(batch)), min(count, len(batch))):
        rows = slice(int(places[0]), int(places[-1]) + 1)
        targets = None if batch.targets is None else batch.targets[rows]
        yield Batch({name: tensor[rows] for name, tensor in batch.inputs.items()}, targets, batch.rows[rows])


def mean_squared_gradients(
    context: Context, parameters: Mapping[str, torch.Tensor], clip: float | None, stream: str
) -> dict[str, torch.Tensor]:
    """F = sum over batches of g^2, divided by the number of batches, for each parameter, in its shape.

    The model is in the mode it is in (training mode in a prologue). Each tensor's gradient is bounded by `clip` on
    its own before it is squared. `stream` names the dropout stream. Gradients are cleared."""
    import torch

    from ftbench.training.seeds import derived

    assert context.batches is not None
    assert context.forward is not None
    assert context.task_loss is not None
    torch.manual_seed(derived(context.seed, "noise", stream, "dropout", context.phase))
    found = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in parameters.items()}
    count = 0
    for batch in context.batches():
        context.model.zero_grad(set_to_none=True)
        for part in parts(batch, context.training.accumulation):
            loss = context.task_loss(context.forward(part), part) * (len(part) / len(batch))
            loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in parameters.items():
            if parameter.grad is None:
                continue
            if clip is not None:
                torch.nn.utils.clip_grad_norm_([parameter], clip)
            found[name] += parameter.grad.float().square()
        count += 1
    context.model.zero_grad(set_to_none=True)
    return {name: total / max(1, count) for name, total in found.items()}
