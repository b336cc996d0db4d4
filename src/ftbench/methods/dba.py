"""DBA (experimental): the mean gradient of the prior data at the start is added to every step's gradient.

Paper: Tang et al. (2025), dynamic boosted annealing, arXiv 2509.26242. Its coefficients could not be read, so the
weights here are this package's own and no agreement with published numbers is claimed.
Formula: g = g_D + kappa |g_D| / |G| G, rate <- rate (1 + cos(g_D, G)) / 2, G the mean prior gradient at theta0.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State
from ftbench.training.layers import is_encoder
from ftbench.training.prior_task import PriorModel, needed

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context

NOISE = 0.5  # split-half cosine below which the direction is mostly noise


class Dba(Method):
    """One direction of the prior task, measured once, in place of its data."""

    name = "dba"
    summary = "experimental: adds the prior task's mean gradient at the start to every step (dynamic boosted annealing)"
    paper = "Tang et al. (2025), dynamic boosted annealing, arXiv 2509.26242"
    formula = "g = g_D + kappa |g_D|/|G| G; rate <- rate (1 + cos(g_D, G))/2; G = mean prior gradient at theta0"
    deviations = (
        "experimental: kappa, the norms' range (all weights of the encoder) and the factor on the rate are this"
        " package's own",
        "the mean gradient is an exact mean in fp32, not Adam's first moment with a rate of 0",
        "annealing is the study's schedule; set `schedule` and `warmup_share` of the training",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="4 bytes per weight of the encoder; one pass over the sample first")
    needs_prior: ClassVar[bool] = True

    class Config(Strict):
        kappa: float = Field(0.1, ge=0, description="length of the added gradient relative to the step's own (ours)")
        rows: int = Field(512, gt=1, description="rows of the pool that the mean gradient is taken over (ours)")
        batch_size: int = Field(32, gt=0, description="rows of one pass over them; the mean does not depend on it")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.direction: dict[str, torch.Tensor] = {}
        self.norm = self.agreement = 0.0
        self.optimizer: torch.optim.Optimizer | None = None

    def prologue(self, context: Context) -> None:
        import torch

        if self.direction:
            return
        halves = mean_gradients(context, self.config.rows, self.config.batch_size)
        flat = [torch.cat([gradient.flatten() for gradient in half.values()]) for half in halves]
        self.agreement = float(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0))
        self.direction = {name: (halves[0][name] + halves[1][name]) / 2 for name in halves[0]}
        self.norm = float(((flat[0] + flat[1]) / 2).norm())
        if self.agreement < NOISE:
            warnings.warn(
                f"dba: the mean gradients of two halves of the prior rows have a cosine of {self.agreement:.2f}; below "
                f"{NOISE} the direction is mostly noise. Take more `rows`.",
                stacklevel=2,
            )

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
        self.optimizer = optimizer
        return optimizer

    def gradients_ready(self, context: Context) -> None:
        import torch

        pairs = [
            (parameter.grad, self.direction[name])
            for name, parameter in context.model.named_parameters()
            if name in self.direction and parameter.grad is not None
        ]
        if not pairs:
            return
        own = torch.stack([gradient.norm() for gradient, _ in pairs]).norm()
        general = torch.stack([direction.norm() for _, direction in pairs]).norm() + 1e-12
        together = torch.stack([(gradient * direction).sum() for gradient, direction in pairs]).sum()
        cosine = float(together / (own * general + 1e-30))
        kappa: float = self.config.kappa
        for gradient, direction in pairs:
            gradient.add_(direction, alpha=float(kappa * own / general))
        assert self.optimizer is not None
        for group in self.optimizer.param_groups:  # the loop sets the rates anew in every step
            group["lr"] *= (1 + cosine) / 2

    def record(self) -> dict[str, Any]:
        if not self.direction:
            return {}
        return {"prior_gradient_norm": self.norm, "split_half_cosine": self.agreement}

    def state_dict(self) -> State:
        numbers = {"norm": self.norm, "agreement": self.agreement}
        return {**numbers, **{f"direction/{name}": tensor for name, tensor in self.direction.items()}}

    def load_state_dict(self, state: State) -> None:
        self.norm, self.agreement = float(state["norm"]), float(state["agreement"])
        prefix = "direction/"
        self.direction = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def mean_gradients(context: Context, rows: int, batch_size: int) -> tuple[dict[str, torch.Tensor], ...]:
    """The mean loss gradient of the encoder over two halves of a fixed sample of the pool, in evaluation mode."""
    import numpy as np
    import torch

    from ftbench.training.seeds import numpy_generator

    prior, model = needed(context), PriorModel(context)
    chosen = numpy_generator(0, "dba").permutation(len(prior))[:rows]  # the same for all runs of a study
    place = next(context.model.parameters()).device
    named = [(n, p) for n, p in context.model.named_parameters() if p.requires_grad and is_encoder(n, context.model)]
    found = []
    training = context.model.training
    context.model.eval()
    for half in np.array_split(chosen, 2):
        means = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in named}
        for part in np.split(half, range(batch_size, len(half), batch_size)):
            batch = prior.batch(part, place)
            loss = prior.row_losses(model.logits(context, batch), batch).sum() / len(half)
            gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
            for (name, _), gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    means[name] += gradient.detach().float()
        found.append(means)
    context.model.train(training)
    return tuple(found)
