"""FreeLB: several ascent steps on an embedding perturbation; the weights learn from all of their gradients.

Paper: Zhu et al. (2020), FreeLB: Enhanced Adversarial Training for Natural Language Understanding. Reference code:
zhuchen03/FreeLB @ eb23701; the form of BOSS: lifan-yuan/OOD_NLP @ 974d49e.
Formula: for k = 1..K: g += grad L(f(E + d))/K, then d_i += a dg_i / max(|dg_i|, 1e-8), scaled back where it is longer
than `max_norm`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.dropout import dropout_state, own_masks, same_masks
from ftbench.training.embeddings import embedding_shape, shifted, token_mask

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch

SMALLEST_NORM = 1e-8  # of a perturbation's gradient, as in the reference


class FreeLb(Method):
    """K passes over each micro-batch, with a perturbation of its word embeddings that climbs the loss."""

    name = "freelb"
    summary = "adversarial steps on the word embeddings, gradients averaged over all of them"
    paper = "Zhu et al. (2020), FreeLB: Enhanced Adversarial Training for Natural Language Understanding"
    reference_code = "zhuchen03/FreeLB @ eb23701; form boss: lifan-yuan/OOD_NLP @ 974d49e"
    formula = "K times: g += grad L(f(E + d))/K; d_i += a dg_i/max(|dg_i|_2, 1e-8), |d_i|_2 <= max_norm"
    deviations = (
        "`passes` counts forward passes, as in the authors' transformers code (their fairseq code runs one more)",
        "a perturbation whose gradient is not finite (fp16 overflow) stays where it is",
        "the boss form's independent dropout masks are a setting of their own (`dropout: independent`)",
    )
    cost = Cost(forward=3.0, backward=3.0, memory="one perturbation of a micro-batch's embeddings")
    search = {  # values of the authors' launch scripts
        "settings.rate": (0.03, 0.04, 0.05, 0.1, 0.2),
        "settings.start": (0.0, 0.05, 0.08, 0.1, 0.2, 0.32, 0.6),
        "settings.passes": (2, 3, 4),
    }
    owns_gradients = True
    alters_forward = True
    draws_noise = True

    class Config(Strict):
        passes: int = Field(3, ge=1, le=16, description="K: forward and backward passes of a step")
        rate: float = Field(0.04, ge=0, description="a: length of an ascent step, norm over an example's embeddings")
        start: float = Field(0.08, ge=0, description="size of the random start; its norm is about 0.58 of it. 0: none")
        max_norm: float = Field(0.0, ge=0, description="bound of an example's perturbation; 0: no bound")
        dropout: Literal["shared", "independent"] = Field(
            "shared", description="dropout masks of the K passes over a micro-batch"
        )
        form: Literal["paper", "boss"] = Field(
            "paper", description="boss: gradients are summed, not averaged, and the loss is that of the last pass"
        )

    def draw(self, batch: Batch, context: Context) -> torch.Tensor:
        """The start of a micro-batch's perturbation: U(-1, 1) start / sqrt(tokens width), zero on padding."""
        import torch

        shape, mask = embedding_shape(context.model, batch), token_mask(batch)
        if self.config.start == 0:
            return torch.zeros(shape, device=mask.device)
        drawn = 2 * torch.rand(shape, generator=context.generator(self.name)) - 1
        entries = mask.sum(1, keepdim=True) * shape[-1]
        start: torch.Tensor = drawn.to(mask.device) * mask * self.config.start / entries.sqrt()
        return start

    def ascend(self, perturbation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """One normalised ascent step of every example, then the bound. Shapes (rows, tokens, width)."""
        import torch

        norm = gradient.norm(dim=(1, 2), keepdim=True)
        step = self.config.rate * gradient / norm.clamp(min=SMALLEST_NORM)
        moved = perturbation + torch.where(norm.isfinite(), step, torch.zeros_like(step))
        if self.config.max_norm > 0:
            length = moved.norm(dim=(1, 2), keepdim=True)
            moved = moved * (self.config.max_norm / length.clamp(min=self.config.max_norm))
        return moved

    def gradients(
        self, batches: Sequence[Batch], backward: Callable[[Batch], torch.Tensor], context: Context
    ) -> torch.Tensor:
        import torch

        count, averaged = self.config.passes, self.config.form == "paper"
        losses = []
        for batch in batches:
            assert context.repeat_dropout is not None
            context.repeat_dropout(batch)  # its noise and its masks belong to the micro-batch, not to the order
            perturbation = self.draw(batch, context)
            state = dropout_state(perturbation.device)
            shares = []
            for number in range(count):
                perturbation = perturbation.detach().requires_grad_()
                masks: AbstractContextManager[None] = nullcontext()
                if number:
                    shared = self.config.dropout == "shared"
                    masks = same_masks(state) if shared else own_masks(context, self.name, number)
                with masks, shifted(context.model, perturbation):
                    shares.append(backward(batch))
                if number + 1 < count and perturbation.grad is not None:
                    perturbation = self.ascend(perturbation.detach(), perturbation.grad)
            losses.append(torch.stack(shares).mean() if averaged else shares[-1])
        if averaged and count > 1:
            gradients = [value.grad for value in context.model.parameters() if value.grad is not None]
            torch._foreach_div_(gradients, float(count))
        return torch.stack(losses).sum()
