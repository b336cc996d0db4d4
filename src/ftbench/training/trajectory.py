"""Averages of the weights along one training: where they are kept, swapped in for evaluation, and exported.

Methods that average a trajectory derive from `TrajectoryMean` and say in `after_step` what enters the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftbench.training.method import Context, Method

if TYPE_CHECKING:
    import torch

_WEIGHT = "mean/"  # in the state: weights of the mean


class TrajectoryMean(Method):
    """Holds `self.mean` by parameter name, in float32; empty until something has entered it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.mean: dict[str, torch.Tensor] = {}

    @classmethod
    def rivals(cls, others: Sequence[type[Method]]) -> list[str]:
        """Why other methods of the run do not go with this one: two averages would each export their own."""
        names = [other.name for other in others if issubclass(other, TrajectoryMean)]
        return [f"{cls.name} beside {names}: only one of them can be what is exported"] if names else []

    def enter(self, context: Context, share: float) -> None:
        """mean <- mean + share (theta - mean), of the parameters that are trained; the first one is theta itself."""
        import torch

        with torch.no_grad():
            for name, parameter in context.model.named_parameters():
                if not parameter.requires_grad:
                    continue
                if name not in self.mean:
                    self.mean[name] = parameter.detach().float().clone()
                else:
                    self.mean[name].lerp_(parameter.detach().float(), share)

    @contextmanager
    def evaluating(self, context: Context) -> Iterator[None]:
        import torch

        parameters = dict(context.model.named_parameters())
        kept = {name: parameters[name].detach().clone() for name in self.mean}
        with torch.no_grad():
            for name, tensor in self.mean.items():
                parameters[name].copy_(tensor)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in kept.items():
                    parameters[name].copy_(tensor)

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        return {
            name: self.mean[name].to(device="cpu", dtype=tensor.dtype) if name in self.mean else tensor
            for name, tensor in state.items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {_WEIGHT + name: tensor for name, tensor in self.mean.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean = {key.removeprefix(_WEIGHT): tensor for key, tensor in state.items() if key.startswith(_WEIGHT)}
