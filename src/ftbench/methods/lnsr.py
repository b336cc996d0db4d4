"""LNSR, layer-wise noise stability: noise in a low hidden state should not grow through the blocks above.

Paper: Hua et al. (2021), Noise Stability Regularization for Improving BERT Fine-tuning. No reference code was found.
Formula: CE + lambda sum_{r>b} (1/B) sum_i |h'_r - h_r|^2 / (tokens_i width), h'_b = h_b + n, h'_r by the blocks above
b with the same dropout masks; n ~ N(0, s^2) or n = s (h_b(x') - h_b(x)) with another example x'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.embeddings import token_mask
from ftbench.training.layers import blocks
from ftbench.training.rerun import Recorder

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class Lnsr(Method):
    """The blocks above the noise run a second time; the gradient flows through both runs."""

    name = "lnsr"
    summary = "noise in a low hidden state must not grow through the blocks above"
    paper = "Hua et al. (2021), Noise Stability Regularization for Improving BERT Fine-tuning"
    reference_code = "none found"
    formula = "CE + lambda sum_{r>b} mean_i |h'_r - h_r|^2/(tokens_i width), h'_b = h_b + n, n ~ N(0, s^2)"
    deviations = (
        "squared distances are means over the tokens and the width of an example; padding counts nowhere",
        "one weight for all blocks above the noise",
        "`size` is relative to the norm of each token's hidden state unless `scale: absolute`",
        "the noise is a constant: no gradient flows through its size or through x'",
    )
    cost = Cost(forward=2.0, backward=2.0, memory="the activations of the blocks above the noise, twice")
    search = {  # our own grid: none was published with the figures at hand
        "settings.depth": (0.0, 0.25, 0.5),
        "settings.size": (0.01, 0.05),
        "settings.weight": (0.1, 1.0, 10.0),
    }
    draws_noise = True

    class Config(Strict):
        weight: float = Field(1.0, ge=0, description="lambda: weight of the squared distances, summed over blocks")
        size: float = Field(0.05, ge=0, description="s: size of the noise; in_manifold: share of the way to x'")
        scale: Literal["relative", "absolute"] = Field(
            "relative", description="relative: s times the root mean square of the token's state; absolute: s itself"
        )
        noise: Literal["standard", "in_manifold"] = Field(
            "standard", description="in_manifold: towards the state of another example of the micro-batch"
        )
        depth: float = Field(0.0, ge=0, lt=1, description="share of the blocks below the noise; 0: the embeddings")
        distance: Literal["absolute", "share"] = Field(
            "absolute", description="share: divided by the mean square of h_r, which differs by block"
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.recorder = Recorder()

    def prepare_model(self, context: Context) -> None:
        if self.config.weight:
            found = [block for _, block in blocks(context.model)]
            self.recorder.attach(found[int(self.config.depth * len(found)) :], context)

    def draw(self, hidden: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        """The noise for a hidden state (rows, tokens, width), zero on padding."""
        import torch

        hidden, mask, generator = hidden.detach().float(), token_mask(batch), context.generator(self.name)
        if self.config.noise == "in_manifold":
            # every example looks at the one so many rows further on; padding on either side gets none
            away = int(torch.randint(1, max(2, len(batch)), (1,), generator=generator))
            noise: torch.Tensor = self.config.size * (hidden.roll(-away, 0) - hidden)
            return noise * mask * mask.roll(-away, 0)
        noise = self.config.size * torch.randn(hidden.shape, generator=generator).to(hidden.device) * mask
        if self.config.scale == "relative":
            noise = noise * hidden.square().mean(-1, keepdim=True).sqrt()
        return noise

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        if not self.config.weight:
            return loss
        first = self.recorder.taken()
        noisy = first.again(first.entered + self.draw(first.entered, batch, context).to(first.entered.dtype))
        mask = token_mask(batch)
        entries = mask.sum((1, 2)) * first.entered.shape[-1]
        for state, other in zip(first.states, noisy, strict=True):
            apart = ((other.float() - state.float()).square() * mask).sum((1, 2)) / entries
            if self.config.distance == "share":
                size = (state.detach().float().square() * mask).sum((1, 2)) / entries
                apart = apart / size.clamp(min=1e-12)
            loss = loss + self.config.weight * apart.mean()
        return loss
