"""R3F: predictions should not change under tiny noise on the word embeddings. R4F adds a normalised head.

Paper: Aghajanyan et al. (2021), Better Fine-Tuning by Reducing Representational Collapse. Reference code:
facebookresearch/fairseq @ 3d262bb2, examples/rxf.
Formula: CE(f(E)) + lambda (1/B) sum_i [KL(p_i||q_i) + KL(q_i||p_i)], p = f(E), q = f(E + z), z uniform or normal.
At the usual epsilon the noise is far smaller than the effect of dropout, and below the rounding of fp16 and
bf16; `noise: dropped` is the control that shows what of an improvement is due to dropout alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.methods.base import Cost, Method, State
from ftbench.training.consistency import disagreement
from ftbench.training.dropout import further_pass
from ftbench.training.embeddings import embedding_shape, shifted, token_mask
from ftbench.training.spectral import SpectralHead

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class R3f(Method):
    """One more pass with noise on the word embeddings, and a symmetric KL between both."""

    name = "r3f"
    summary = "predictions agree with those under tiny embedding noise (R4F: with a spectrally normalised head)"
    paper = "Aghajanyan et al. (2021), Better Fine-Tuning by Reducing Representational Collapse"
    reference_code = "facebookresearch/fairseq @ 3d262bb2"
    formula = "CE(p) + lambda mean_i [KL(p_i||q_i) + KL(q_i||p_i)], p = f(E), q = f(E + z), z ~ U(-e, e) or N(0, e^2)"
    deviations = (
        "the noise reaches every model (the reference's RoBERTa encoder ignores it, which `noise: dropped` reproduces)",
        "padding gets no noise (the reference adds it there too, where attention does not see it)",
        "a regression gets lambda times the squared difference (the reference pays for the pass and adds nothing)",
        "R4F normalises the linear layers outside the pretrained part; evaluation and export use W / sigma(W)",
    )
    cost = Cost(forward=2.0, backward=2.0, memory="the activations of two passes")
    search = {  # commonly searched; the paper's own grid was not at hand
        "settings.weight": (0.1, 0.5, 1.0, 5.0),
        "settings.distribution": ("uniform", "normal"),
    }
    draws_noise = True

    class Config(Strict):
        weight: float = Field(1.0, ge=0, description="lambda: weight of the symmetric KL")
        epsilon: float = Field(1e-5, ge=0, description="bound of uniform noise, standard deviation of normal noise")
        distribution: Literal["uniform", "normal"] = Field("uniform", description="what the noise is drawn from")
        noise: Literal["applied", "dropped"] = Field(
            "applied", description="dropped: a second pass without noise, what the released RoBERTa code does"
        )
        dropout: Literal["independent", "shared"] = Field(
            "independent", description="shared: both passes have the same dropout masks, so that only the noise counts"
        )
        detach: bool = Field(
            True, description="no gradient to the embedding table through the noisy pass, as in the reference"
        )
        spectral_head: bool = Field(False, description="R4F: the head computes with W / sigma(W)")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.head = SpectralHead() if config.spectral_head else None

    @classmethod
    def check(cls, config: Config, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        if config.noise == "dropped" and (config.dropout == "shared" or training.dropout == 0):
            return ["r3f without noise and with equal dropout compares a pass with itself; change one of them"]
        return []

    def prepare_model(self, context: Context) -> None:
        if self.head:
            self.head.attach(context.model)

    def draw(self, batch: Batch, context: Context) -> torch.Tensor:
        """The noise of a micro-batch (rows, tokens, width), zero on padding."""
        import torch

        shape, generator = embedding_shape(context.model, batch), context.generator(self.name)
        if self.config.distribution == "uniform":
            drawn = 2 * torch.rand(shape, generator=generator) - 1
        else:
            drawn = torch.randn(shape, generator=generator)
        mask = token_mask(batch)
        noise: torch.Tensor = self.config.epsilon * drawn.to(mask.device) * mask
        return noise

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        if self.config.weight == 0:
            return loss
        assert context.forward is not None
        noisy: AbstractContextManager[None] = nullcontext()
        if self.config.noise == "applied":
            noisy = shifted(context.model, self.draw(batch, context), self.config.detach)
        with further_pass(context, self.config.dropout == "shared", self.name), noisy:
            other = context.forward(batch)
        apart: torch.Tensor = self.config.weight * disagreement(logits, other, context.kind).mean()
        return loss + apart

    def after_step(self, context: Context) -> None:
        if self.head:
            self.head.follow(context.model)

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        return self.head.export(state) if self.head else state

    def state_dict(self) -> State:
        return dict(self.head.vectors) if self.head else {}

    def load_state_dict(self, state: State) -> None:
        if self.head:
            self.head.vectors = dict(state)
