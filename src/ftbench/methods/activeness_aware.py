"""Activeness-aware fine-tuning: mix the gradient with that of a point uphill, which penalises its norm.

Paper: Lin et al. (2024), Unveiling and Mitigating Backdoor Vulnerabilities based on Unlearning Weight Changes and
Backdoor Activeness (TSBD), stage 2. Reference code: linweiii/TSBD @ 3718c67.
Formula: g1 = grad L(theta), theta+ = theta + r g1/|g1|, g2 = grad L(theta+) on the same batch; the optimiser gets
(1 - alpha) g1 + alpha g2, about the gradient of L + alpha r |grad L|. alpha = 1 is sharpness-aware minimisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.lookahead import moved_by_others, put_back

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class ActivenessAware(Method):
    """Two passes over the micro-batches of a step: at the weights, and a step uphill of them."""

    name = "activeness_aware"
    summary = "mixes in the gradient of a point uphill, a penalty on the gradient's norm"
    paper = (
        "Lin et al. (2024), Unveiling and Mitigating Backdoor Vulnerabilities based on Unlearning Weight Changes and "
        "Backdoor Activeness"
    )
    reference_code = "linweiii/TSBD @ 3718c67"
    formula = "g <- (1 - alpha) grad L(theta) + alpha grad L(theta + r g/|g|)"
    deviations = (
        "stage 2 alone: the paper's pruning of backdoored neurons before it is not part of the method",
        "the step uphill has length r over all tensors together (the reference: r for every tensor, `norm: tensor`)",
        "a tensor without gradient is not moved (the reference divides by zero)",
        "both passes have the same dropout masks; the step uphill is taken once per optimiser step, also with "
        "accumulation",
        "the mixed gradient is clipped and goes to AdamW (the reference: SGD with momentum, no clipping)",
    )
    cost = Cost(forward=2.0, backward=2.0, memory="a copy of the weights and one of the gradients")
    search = {"settings.radius": (0.01, 0.05, 0.1), "settings.mix": (0.3, 0.5, 0.7, 1.0)}  # around the paper's values
    owns_gradients = True

    class Config(Strict):
        radius: float = Field(0.05, ge=0, description="r: length of the step uphill")
        mix: float = Field(0.7, ge=0, le=1, description="alpha: part of the gradient found uphill")
        norm: Literal["global", "tensor"] = Field(
            "global", description="tensor: every tensor is moved by r on its own, as in the released code"
        )

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = moved_by_others(cls.name, others)
        if training.processes > 1:
            reasons.append(
                f"`training.processes: {training.processes}`, which add their gradients only after both passes; "
                "expected 1 process"
            )
        return reasons

    def gradients(
        self, batches: Sequence[Batch], backward: Callable[[Batch], torch.Tensor], context: Context
    ) -> torch.Tensor:
        import torch

        loss = torch.stack([backward(batch) for batch in batches]).sum()
        parameters = [parameter for parameter in context.model.parameters() if parameter.grad is not None]
        first = [parameter.grad for parameter in parameters if parameter.grad is not None]
        with put_back(parameters):
            self._uphill(parameters, first)
            for parameter in parameters:
                parameter.grad = None
            for batch in batches:
                assert context.repeat_dropout is not None
                context.repeat_dropout(batch)
                backward(batch)
        for parameter, gradient in zip(parameters, first, strict=True):
            assert parameter.grad is not None
            parameter.grad.mul_(self.config.mix).add_(gradient, alpha=1 - self.config.mix)
        return loss

    def _uphill(self, parameters: list[torch.nn.Parameter], gradients: list[torch.Tensor]) -> None:
        """theta <- theta + r g/|g|; a loss scale in the gradients cancels."""
        import torch

        smallest = torch.finfo(torch.float32).tiny
        norms = torch.stack([gradient.float().norm() for gradient in gradients])
        if self.config.norm == "global":
            norms = norms.norm().expand(len(gradients))
        with torch.no_grad():
            for parameter, gradient, norm in zip(parameters, gradients, norms, strict=True):
                parameter.add_(gradient / norm.clamp(min=smallest), alpha=self.config.radius)
