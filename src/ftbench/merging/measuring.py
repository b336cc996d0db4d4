"""What some merging methods need to know of an ingredient: its Fisher information and the inputs of its linear layers.

Both run a model over rows without their labels, one ingredient at a time. Gradients are used and freed parameter by
parameter, so that no second copy of the model comes to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from ftbench.training.batches import Batch


def fisher_diagonal(model: torch.nn.Module, batches: Iterable[Batch], kind: str) -> dict[str, torch.Tensor]:
    """Mean over the rows of sum_c p_c (d log p_c / d theta)^2 by parameter name; batches must hold one row each.

    For a regression with one output: the mean of (d z / d theta)^2, the information of a Gaussian of variance 1.
    """
    import torch

    model.eval()
    parameters = dict(model.named_parameters())
    found = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    weight = 0.0

    def adder(name: str) -> Any:
        def add(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            found[name].addcmul_(parameter.grad, parameter.grad, value=weight)
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
    return {name: tensor.div_(max(1, rows)) for name, tensor in found.items()}


def linear_layers(model: torch.nn.Module) -> dict[str, tuple[torch.nn.Module, bool]]:
    """Linear layers by the name of their weight; true where it is stored as (inputs, outputs)."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return {
        f"{name}.weight": (module, isinstance(module, Conv1D))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }


def input_grams(model: torch.nn.Module, batches: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """X^T X / n of the inputs of every linear layer, by the name of its weight; padding does not count."""
    import torch

    model.eval()
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}
    mask: torch.Tensor | None = None

    def watcher(name: str) -> Any:
        def watch(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            inputs = given[0].detach().float()
            if mask is not None and inputs.dim() == 3 and inputs.shape[:2] == mask.shape:
                inputs = inputs[mask]
            inputs = inputs.reshape(-1, inputs.shape[-1])
            product = inputs.T @ inputs
            sums[name] = product if name not in sums else sums[name].add_(product)
            counts[name] = counts.get(name, 0) + len(inputs)

        return watch

    hooks = [module.register_forward_pre_hook(watcher(name)) for name, (module, _) in linear_layers(model).items()]
    try:
        with torch.no_grad():
            for batch in batches:
                mask = batch.inputs["attention_mask"].bool() if "attention_mask" in batch.inputs else None
                model(**batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total.div_(max(1, counts[name])) for name, total in sums.items()}
