"""Child-Tuning-F: in each step a random share of the gradient's entries survives, scaled up to keep its mean.

Paper: Xu et al. (2021), Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning.
Reference code: alibaba/AliceMind @ a6d5afe. Masks act after clipping, so the norm that clipping bounds is that of
the full gradient, and the masked one exceeds it by about sqrt(1/p_F).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class ChildTuningF(Method):
    """Multiply every gradient by a fresh Bernoulli mask over p_F; momentum and decay still move masked entries."""

    name = "child_tuning_f"
    summary = "a random share of the gradient survives in each step (task-free)"
    paper = "Xu et al. (2021), Raise a Child in Large Language Model: Towards Effective and Generalizable Fine-tuning"
    reference_code = "alibaba/AliceMind @ a6d5afe"
    formula = "g <- clip(g) * M/p_F, M ~ Bernoulli(p_F) per entry and step; then AdamW"
    deviations = (
        "torch's AdamW, with decay before the move (the reference: after it)",
        "masks come from a stream of their own (the reference draws from the generator of dropout)",
        "masks are drawn on the parameter's device, as one draw per weight and step is slow elsewhere: a GPU draws "
        "others than a CPU",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="one mask byte per weight of the largest tensor, for a moment")
    search = {  # commonly searched
        "settings.keep_share": (0.2, 0.3, 0.4),
        "training.learning_rate": (2e-5, 4e-5, 6e-5, 8e-5, 1e-4),
    }

    class Config(Strict):
        keep_share: float = Field(0.3, gt=0, le=1, description="p_F: probability that an entry's gradient survives")

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        return [
            "`child_tuning_f` with `sift`, whose trained entries are no longer in the gradients that it masks; "
            "expected one of them"
            for other in others
            if other.name == "sift"
        ]

    def masks(self, context: Context) -> dict[str, torch.Tensor]:
        """A mask for each parameter that has a gradient, in the order of registration."""
        import torch

        from ftbench.training.seeds import derived

        # of the step and not of its last micro-batch: accumulation must not change the draw
        seed = derived(context.seed, "noise", self.name, context.phase, context.step)
        generators: dict[torch.device, torch.Generator] = {}
        found = {}
        for name, parameter in context.model.named_parameters():
            if parameter.grad is None:
                continue
            device = parameter.device
            if device not in generators:
                generators[device] = torch.Generator(device).manual_seed(seed)
            mask = torch.empty(parameter.shape, dtype=torch.bool, device=device)
            found[name] = mask.bernoulli_(self.config.keep_share, generator=generators[device])
        return found

    def gradients_clipped(self, context: Context) -> None:
        masks = self.masks(context)
        for name, parameter in context.model.named_parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(masks.pop(name)).div_(self.config.keep_share)
