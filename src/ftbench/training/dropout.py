"""Dropout masks of passes beyond the first: the same masks again, or masks of their own.

The loop seeds dropout once a micro-batch, and its first pass draws from that stream. Methods that run further passes
wrap them in one of the contexts here, which leave the stream as they found it: the next micro-batch sees the
masks that plain fine-tuning would see, and a resumed run needs no stored generator state.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftbench.training.seeds import derived

if TYPE_CHECKING:
    import torch

    from ftbench.training.method import Context


@dataclass(frozen=True, eq=False)
class DropoutState:
    """Where the dropout stream of a device stands."""

    processor: torch.Tensor
    accelerator: torch.Tensor | None
    device: torch.device

    @property
    def devices(self) -> list[torch.device]:
        return [] if self.accelerator is None else [self.device]


def dropout_state(device: torch.device) -> DropoutState:
    """The stream's present place; nothing is drawn."""
    import torch

    accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return DropoutState(torch.get_rng_state(), accelerator, device)


@contextmanager
def same_masks(state: DropoutState) -> Iterator[None]:
    """Passes inside draw the masks that followed `state`; behind it the stream is where it was before."""
    import torch

    with torch.random.fork_rng(state.devices):
        torch.set_rng_state(state.processor)
        if state.accelerator is not None:
            torch.cuda.set_rng_state(state.accelerator, state.device)
        yield


@contextmanager
def own_masks(context: Context, *purpose: str | int) -> Iterator[None]:
    """Passes inside draw masks of this micro-batch that `purpose` names, independent of the first pass's."""
    import torch

    device = next(context.model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derived(context.seed, "dropout", *purpose, context.phase, context.step, context.passes))
        yield


@contextmanager
def further_pass(context: Context, shared: bool, *purpose: str | int) -> Iterator[None]:
    """One more pass over the present micro-batch: with the masks of its first pass, or with masks of its own."""
    if shared:
        assert context.dropout_state is not None  # the loop notes it before each first pass
        with same_masks(context.dropout_state):
            yield
    else:
        with own_masks(context, *purpose):
            yield
