"""Perturbing the word embeddings of a running model, for methods that look around an example.

A forward hook on `get_input_embeddings()` changes what the embedding layer gives, so the model still gets its
`input_ids`: positions, padding and the place where a decoder's classifier reads stay those of a plain pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError
from ftbench.training.layers import backbone_prefix

if TYPE_CHECKING:
    import torch

    from ftbench.training.batches import Batch


def embedding_shape(model: torch.nn.Module, batch: Batch) -> tuple[int, int, int]:
    """Rows, tokens and width of the word embeddings of a batch; padding counts as tokens."""
    rows, tokens = batch.inputs["input_ids"].shape
    return rows, tokens, int(_input_embeddings(model).weight.shape[1])


def token_mask(batch: Batch) -> torch.Tensor:
    """1 for tokens and 0 for padding, fp32 (rows, tokens, 1), to multiply with embeddings."""
    return batch.inputs["attention_mask"].unsqueeze(-1).float()


@contextmanager
def shifted(model: torch.nn.Module, shift: torch.Tensor, detached: bool = False) -> Iterator[None]:
    """Add `shift` (rows, tokens, width) to the word embeddings of all passes inside.

    With `detached` no gradient reaches the embedding table through these passes. A model that embeds something
    of another shape raises an `FtbenchError`.
    """

    def add(output: torch.Tensor) -> torch.Tensor:
        if output.shape != shift.shape:
            raise FtbenchError(
                f"{type(model).__name__}: found word embeddings of shape {tuple(output.shape)}; expected "
                f"{tuple(shift.shape)}, those of the batch. Methods that perturb embeddings need a model that "
                "embeds its input once, token by token."
            )
        return (output.detach() if detached else output) + shift

    with _changed(_input_embeddings(model), add):
        yield


@contextmanager
def replaced(model: torch.nn.Module, embeddings: torch.Tensor) -> Iterator[None]:
    """Feed `embeddings` (rows, tokens, width) to the model in the place of its word embeddings."""
    with _changed(_input_embeddings(model), lambda _: embeddings):
        yield


@contextmanager
def recorded_layer(model: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect what the whole embedding layer gives (word, position, type, normalisation) in passes inside.

    Models without such a layer embed words alone, and that is collected.
    """
    found: list[torch.Tensor] = []
    backbone = getattr(model, backbone_prefix(model).removesuffix("."))
    layer = getattr(backbone, "embeddings", None) or _input_embeddings(model)

    def keep(output: torch.Tensor) -> torch.Tensor:
        found.append(output)
        return output

    with _changed(layer, keep):
        yield found


def _input_embeddings(model: torch.nn.Module) -> Any:
    layer = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None  # type: ignore[operator]
    if layer is None or not hasattr(layer, "weight"):
        raise FtbenchError(
            f"{type(model).__name__}: found no embedding table for tokens (`get_input_embeddings`), "
            "which methods that perturb embeddings need"
        )
    return layer


@contextmanager
def _changed(layer: torch.nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    handle = layer.register_forward_hook(lambda _module, _given, output: change(output))
    try:
        yield
    finally:
        handle.remove()
