"""SMART: smooth around each example against an adversary, and close to a moving average of the own weights.

Paper: Jiang et al. (2020), SMART: Robust and Efficient Fine-Tuning for Pre-trained Natural Language Models through
Principled Regularized Optimization. Reference code: namisan/mt-dnn @ 3228e7c (no proximal term there).
Formula: L + lambda (1/B) sum_i max_{|d|_inf <= e} D(f(E + d), f(E)) + mu (1/B) sum_i D(f(E; theta), f(E; teacher)),
d <- clip(d + step g/|g|_inf, -e, e), teacher <- (1 - beta) theta + beta teacher after each step, D the symmetric KL.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.config.study import Training
from ftbench.methods.base import Cost, Method, State
from ftbench.training.adversary import released_distance, released_objective, released_step
from ftbench.training.consistency import disagreement
from ftbench.training.dropout import further_pass
from ftbench.training.embeddings import embedding_shape, recorded_layer, replaced, shifted, token_mask

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class Smart(Method):
    """Further passes: one for each inner step, one at the perturbation that was found, one of the teacher."""

    name = "smart"
    summary = "adversarial smoothness around examples, and a proximal term towards a moving average of the weights"
    paper = (
        "Jiang et al. (2020), SMART: Robust and Efficient Fine-Tuning for Pre-trained Natural Language Models "
        "through Principled Regularized Optimization"
    )
    reference_code = "namisan/mt-dnn @ 3228e7c"
    formula = (
        "L + lambda mean_i max_{|d|<=e} D(f(E + d), f(E)) + mu mean_i D(f(E), f_teacher(E)), D = KL + reversed KL; "
        "d <- clip(d + step g/|g|_inf, -e, e)"
    )
    deviations = (
        "the proximal problem is not solved in each step: its gradient is a term of the loss",
        "the teacher's pass has the dropout that `dropout` says, like the adversary's",
        "one inner pass at the start and one behind each inner step; |g|_inf is taken over an example's embeddings",
        "form release: no projection (the perturbation is divided by its largest entry of each token and ends near 1), "
        "padding is perturbed, the inner objective is 2 sum p (logit p - logit q) with detached logits, and each "
        "direction of the outer KL detaches its target",
    )
    cost = Cost(
        forward=4.0, backward=2.0, frozen_backward=1.0, memory="the activations of two passes and a copy of the weights"
    )
    search = {  # commonly searched; the paper's own grid was not at hand
        "settings.weight": (1.0, 3.0, 5.0),
        "training.learning_rate": (1e-5, 2e-5, 3e-5, 5e-5),
    }
    draws_noise = True

    class Config(Strict):
        weight: float = Field(1.0, ge=0, description="lambda: weight of the adversarial term")
        steps: int = Field(1, ge=1, le=16, description="K: inner steps of the adversary")
        step_size: float = Field(1e-3, ge=0, description="length of an inner step, in units of the embeddings")
        noise_scale: float = Field(1e-5, ge=0, description="standard deviation of the perturbation's start")
        bound: float = Field(1e-5, ge=0, description="e: largest entry of the perturbation; form release has none")
        dropout: Literal["independent", "shared"] = Field(
            "independent",
            description="shared: all passes have the masks of the first, and only the adversary counts",
        )
        form: Literal["paper", "release"] = Field("paper", description="release: what the released code does")
        wiring: Literal["word", "layer"] = Field(
            "word", description="perturbed: word embeddings, or (released code) the whole layer's output, fed in again"
        )
        proximal_weight: float = Field(1.0, ge=0, description="mu: weight of the proximal term; 0: no teacher")
        beta: float = Field(0.99, ge=0, le=1, description="share of the teacher that stays, at first")
        late_beta: float = Field(0.999, ge=0, le=1, description="the same, later")
        early_share: float = Field(0.1, ge=0, le=1, description="share of the steps that `beta` is for")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.teacher: dict[str, torch.Tensor] = {}

    @classmethod
    def check(cls, config: Config, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        if config.form == "paper" and config.wiring == "layer":
            return ["smart with `wiring: layer` applies positions and normalisation twice; it needs `form: release`"]
        return []

    def prologue(self, context: Context) -> None:
        if self.config.proximal_weight:
            self.teacher = {
                name: value.detach().clone() for name, value in context.model.named_parameters() if value.requires_grad
            }

    def draw(self, batch: Batch, context: Context) -> torch.Tensor:
        """The start of the perturbation (rows, tokens, width): normal, zero on padding unless released."""
        import torch

        drawn = torch.randn(embedding_shape(context.model, batch), generator=context.generator(self.name))
        mask = token_mask(batch)
        noise: torch.Tensor = self.config.noise_scale * drawn.to(mask.device)
        return noise if self.config.form == "release" else noise * mask

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        if self.config.weight:
            loss = loss + self.config.weight * self.smoothness(logits, batch, context)
        if self.teacher:
            loss = loss + self.config.proximal_weight * self.proximity(logits, batch, context)
        return loss

    def smoothness(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        """The adversarial term of a micro-batch, a mean over its rows."""
        import torch

        assert context.forward is not None
        base = self._layer_output(batch, context) if self.config.wiring == "layer" else None
        noise, target = self.draw(batch, context), logits.detach()
        for number in range(self.config.steps):
            noise = noise.detach().requires_grad_()
            held = None if base is None else base.detach()
            with self._perturbed(noise, held, context), self._masks(context, number):
                moved = context.forward(batch)
            if self.config.form == "release":
                objective = released_objective(moved, target, context.kind)
            else:
                objective = disagreement(moved, target, context.kind).sum()
            (gradient,) = torch.autograd.grad(objective, noise)
            noise = self.ascend(noise.detach(), gradient)
        with self._perturbed(noise, base, context), self._masks(context, self.config.steps):
            moved = context.forward(batch)
        if self.config.form == "release":
            return released_distance(logits, moved, context.kind)
        return disagreement(moved, logits, context.kind).mean()

    def ascend(self, noise: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """One inner step and the projection; an example whose gradient is zero or not finite is only projected."""
        import torch

        if self.config.form == "release":
            return released_step(noise, gradient, self.config.step_size)
        largest = gradient.abs().amax(dim=(1, 2), keepdim=True)
        step = self.config.step_size * gradient / largest
        usable = largest.isfinite() & (largest > 0)
        moved = noise + torch.where(usable, step, torch.zeros_like(step))
        return moved.clamp(-self.config.bound, self.config.bound)

    def proximity(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        """The proximal term of a micro-batch, a mean over its rows; no gradient reaches the teacher."""
        import torch

        with torch.no_grad(), self._masks(context, -1):
            found = torch.func.functional_call(context.model, self.teacher, (), dict(batch.inputs)).logits
        return disagreement(logits, found, context.kind).mean()

    def after_step(self, context: Context) -> None:
        if not self.teacher:
            return
        early = context.step <= self.config.early_share * context.total_steps
        beta = self.config.beta if early else self.config.late_beta
        for name, value in context.model.named_parameters():
            if name in self.teacher:
                self.teacher[name].lerp_(value.detach(), 1 - beta)

    def state_dict(self) -> State:
        return dict(self.teacher)

    def load_state_dict(self, state: State) -> None:
        self.teacher = dict(state)

    def _masks(self, context: Context, number: int) -> AbstractContextManager[None]:
        return further_pass(context, self.config.dropout == "shared", self.name, number)

    def _perturbed(
        self, noise: torch.Tensor, base: torch.Tensor | None, context: Context
    ) -> AbstractContextManager[None]:
        return shifted(context.model, noise) if base is None else replaced(context.model, base + noise)

    def _layer_output(self, batch: Batch, context: Context) -> torch.Tensor:
        assert context.forward is not None
        with recorded_layer(context.model) as found, further_pass(context, True):
            context.forward(batch)
        return found[0]
