"""Spectral normalisation of a model's head: its linear layers compute with W / sigma(W).

Forward hooks do it, so that the parameters stay plain for the optimiser, for saving and for other methods. sigma is
the largest singular value by power iteration, whose vectors are kept between steps; the gradient flows through
sigma with the singular vectors held fixed, which at convergence is its exact gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftbench.training.layers import is_head

if TYPE_CHECKING:
    import torch

FIRST_ROUNDS = 100  # power iterations from the start; afterwards one a step follows the weight
SMALLEST = 1e-12  # a bound for divisors


class SpectralHead:
    """The state of the power iterations: one left singular vector for each linear layer of the head."""

    def __init__(self) -> None:
        self.vectors: dict[str, torch.Tensor] = {}

    def attach(self, model: torch.nn.Module) -> None:
        """Let the head compute with normalised weights from now on, in training and in evaluation."""
        import torch
        from torch.nn import functional

        for name, layer in _linear_head(model).items():
            left = torch.ones(layer.weight.shape[0], device=layer.weight.device)
            for _ in range(FIRST_ROUNDS):
                left = _followed(layer.weight.detach(), left)
            self.vectors[name] = left

            def normalised(layer: Any, given: tuple[torch.Tensor], _: Any, name: str = name) -> torch.Tensor:
                return functional.linear(given[0], layer.weight / _sigma(layer.weight, self.vectors[name]), layer.bias)

            layer.register_forward_hook(normalised)

    def follow(self, model: torch.nn.Module) -> None:
        """One power iteration for each weight, after it has changed."""
        for name, layer in _linear_head(model).items():
            self.vectors[name] = _followed(layer.weight.detach(), self.vectors[name])

    def export(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights to save: the plain model computes with them what the normalised head computed."""
        changed = {}
        for name, left in self.vectors.items():
            weight = state[f"{name}.weight"]
            changed[f"{name}.weight"] = weight / _sigma(weight, left.to(weight.device))
        return {**state, **changed}


def _linear_head(model: torch.nn.Module) -> dict[str, Any]:
    import torch

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and is_head(name, model)
    }


def _unit(vector: torch.Tensor) -> torch.Tensor:
    scaled: torch.Tensor = vector / vector.norm().clamp(min=SMALLEST)
    return scaled


def _followed(weight: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """One power iteration on W W^T."""
    return _unit(weight @ _unit(weight.T @ left))


def _sigma(weight: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """The largest singular value of a weight (outputs, inputs), from a vector near its left singular one."""
    left = _followed(weight.detach(), left)
    value: torch.Tensor = left @ (weight @ _unit(weight.detach().T @ left))
    return value.clamp(min=SMALLEST)
