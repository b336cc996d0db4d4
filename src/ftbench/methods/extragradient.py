"""Extrapolated Adam: take the gradient at a point ahead of the weights, and apply it to the weights.

Paper: Lin et al. (2020), Extrapolation for Large-batch Training in Deep Learning. Reference code of the two-pass
rule: GauthierGidel/Variational-Inequality-GAN @ 141122a.
Formula, `past`: theta' = theta - r eta_t m/(sqrt(v) + e) with the moments of the steps before, then Adam at theta
with the gradient of theta'. `extra`: theta' = theta + Adam(gradient at theta), then theta + Adam(gradient at theta').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.lookahead import moved_by_others, put_back

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class Extragradient(Method):
    """Owns the passes of a step; the optimiser stays the loop's AdamW, whose moments give the direction ahead."""

    name = "extragradient"
    summary = "Adam with the gradient of a point ahead of the weights (extrapolation)"
    paper = "Lin et al. (2020), Extrapolation for Large-batch Training in Deep Learning"
    reference_code = "GauthierGidel/Variational-Inequality-GAN @ 141122a (rule `extra`); none for the paper"
    formula = "theta' = theta - r eta m/(sqrt(v) + e); theta <- theta + Adam(gradient at theta')"
    deviations = (
        "the moments of the direction ahead are bias-corrected, so that its length is that of an Adam step",
        "the reach is a multiple of the scheduled learning rate; the first step, without moments, looks at theta",
        "`extra` decays weights beside Adam (the reference adds the decay to the gradient) and clips both gradients",
        "both passes of `extra` have the same batches and dropout masks; noise that other methods draw is drawn anew",
        "masks and gradient noise of other methods act on the second gradient of `extra` alone",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="one copy of the weights; `extra` has two passes a step")
    search = {"settings.reach": (0.1, 0.5, 1.0, 2.0)}
    owns_gradients = True

    class Config(Strict):
        rule: Literal["past", "extra"] = Field(
            "past", description="past: ahead by the moments of earlier steps, one pass; extra: by a step of its own"
        )
        reach: float = Field(1.0, ge=0, description="r: how far ahead, in units of the scheduled learning rate")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = moved_by_others(cls.name, others)
        if config.rule == "extra" and training.precision == "fp16":
            reasons.append(
                "`rule: extra` with `training.precision: fp16`, whose gradients are still scaled where the step ahead "
                "is taken; expected `bf16`, `fp32` or `auto`"
            )
        if config.rule == "extra" and training.processes > 1:
            reasons.append(
                "`rule: extra` with `training.processes` above 1, which add their gradients after the step ahead; "
                "expected 1 process, or `rule: past`"
            )
        return reasons

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
        self.optimizer = optimizer  # for its moments, and for the step ahead
        return optimizer

    def gradients(
        self, batches: Sequence[Batch], backward: Callable[[Batch], torch.Tensor], context: Context
    ) -> torch.Tensor:
        import torch

        assert self.optimizer is not None
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        with put_back(parameters):
            if self.config.rule == "past":
                self._ahead_by_moments()
            else:
                for batch in batches:
                    backward(batch)
                self._ahead_by_a_step(parameters, context)
            losses = []
            for batch in batches:
                assert context.repeat_dropout is not None
                context.repeat_dropout(batch)
                losses.append(backward(batch))
            return torch.stack(losses).sum()

    def _ahead_by_moments(self) -> None:
        """theta' = theta - r eta mhat/(sqrt(vhat) + e); nothing where there are no moments yet."""
        import torch

        assert self.optimizer is not None
        with torch.no_grad():
            for group in self.optimizer.param_groups:
                first, second = group["betas"]
                for parameter in group["params"]:
                    state = self.optimizer.state.get(parameter)
                    if not state:
                        continue
                    if "exp_avg" not in state:
                        raise FtbenchError("`extragradient`: found an optimiser without moments; expected Adam")
                    step = state["step"].double()  # a tensor on the device: nothing waits for its value
                    root = (state["exp_avg_sq"] / (1 - second**step)).sqrt_().add_(group["eps"])
                    direction = state["exp_avg"] / (1 - first**step) / root
                    parameter.sub_(direction, alpha=self.config.reach * group["lr"])

    def _ahead_by_a_step(self, parameters: list[torch.Tensor], context: Context) -> None:
        """Let the optimiser go to theta' with the gradients found there; its moments and counter go on."""
        import torch

        assert self.optimizer is not None
        if context.training.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, context.training.clip_norm)
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["lr"] *= self.config.reach
        self.optimizer.step()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
