"""What some merging methods need to know of an ingredient: its Fisher information and the inputs of its linear layers.

Both run a model over rows without their labels, one ingredient at a time. Gradients are used and freed parameter by
parameter and the sums lie in a mapped file, so that no second copy of the model comes to be in memory. On a GPU the
sums are kept there until the last row: sending them for every row would take most of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.merging.writing import mapped_file

if TYPE_CHECKING:
    import torch

    from ftbench.training.batches import Batch


def _sums(stored: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Where to add: the mapped tensors themselves, or zeros beside a model on a GPU."""
    import torch

    if device.type == "cpu":
        return dict(stored)
    return {name: torch.zeros(tensor.shape, device=device) for name, tensor in stored.items()}


def fisher_diagonal(model: torch.nn.Module, batches: Iterable[Batch], kind: str, file: Path) -> dict[str, torch.Tensor]:
    """Mean over the rows of sum_c p_c (d log p_c / d theta)^2 by parameter name; batches must hold one row each.

    For a regression with one output: the mean of (d z / d theta)^2, the information of a Gaussian of variance 1.
    The tensors are those of the new safetensors file `file`, float32.
    """
    model.eval()
    parameters = dict(model.named_parameters())
    stored = mapped_file(file, {name: (tuple(parameter.shape), "F32") for name, parameter in parameters.items()})
    found = _sums(stored, next(iter(parameters.values())).device)
    weight = 0.0

    def adder(name: str) -> Any:
        def add(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            gradient = parameter.grad.float()
            found[name].addcmul_(gradient, gradient, value=weight)
            parameter.grad = None

        return add

    wanted = {name: parameter.requires_grad for name, parameter in parameters.items()}
    hooks = []
    rows = 0
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            hooks.append(parameter.register_post_accumulate_grad_hook(adder(name)))  # type: ignore[no-untyped-call]
        for batch in batches:
            outputs = model(**batch.inputs).logits.float()
            assert len(outputs) == 1, "Fisher information is of single rows"
            rows += 1
            if kind == "regression":
                weight = 1.0
                outputs[0, 0].backward()
                continue
            logs = outputs[0].log_softmax(0)
            chances = logs.detach().exp().tolist()
            for label, chance in enumerate(chances):
                weight = chance
                logs[label].backward(retain_graph=label + 1 < len(chances))
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in parameters.items():
            parameter.requires_grad_(wanted[name])
    for name, tensor in stored.items():
        tensor.copy_(found[name].div_(max(1, rows)))
    return stored


def linear_layers(model: torch.nn.Module) -> dict[str, tuple[torch.nn.Module, bool]]:
    """Linear layers by the name of their weight; true where it is stored as (inputs, outputs)."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return {
        f"{name}.weight": (module, isinstance(module, Conv1D))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }


def input_grams(model: torch.nn.Module, batches: Iterable[Batch], file: Path) -> dict[str, torch.Tensor]:
    """X^T X / n of the inputs of every linear layer, by the name of its weight; padding does not count.

    The tensors are those of the new safetensors file `file`, float32; a layer that is never used has zeros.
    """
    import torch

    model.eval()
    layers = linear_layers(model)
    extents = {name: model.get_parameter(name).shape[0 if turned else 1] for name, (_, turned) in layers.items()}
    stored = mapped_file(file, {name: ((extent, extent), "F32") for name, extent in extents.items()})
    sums = _sums(stored, next(model.parameters()).device)
    counts = dict.fromkeys(layers, 0)
    mask: torch.Tensor | None = None

    def watcher(name: str) -> Any:
        def watch(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            inputs = given[0].detach().float()
            if mask is not None and inputs.dim() == 3 and inputs.shape[:2] == mask.shape:
                inputs = inputs[mask]
            inputs = inputs.reshape(-1, inputs.shape[-1])
            sums[name].addmm_(inputs.T, inputs)
            counts[name] += len(inputs)

        return watch

    hooks = [module.register_forward_pre_hook(watcher(name)) for name, (module, _) in layers.items()]
    try:
        with torch.no_grad():
            for batch in batches:
                mask = batch.inputs["attention_mask"].bool() if "attention_mask" in batch.inputs else None
                model(**batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    for name, tensor in stored.items():
        tensor.copy_(sums[name].div_(max(1, counts[name])))
    return stored
