"""RecAdam: Adam that first recalls the pretrained weights and turns to the task as training goes on.

Paper: Chen et al. (2020), Recall and Learn: Fine-tuning Deep Pretrained Language Models with Less Forgetting.
Reference code: Sanyuan-Chen/RecAdam @ 505ba3c.
Formula, with lambda_t = 1 / (1 + exp(-k (t - t0))): theta <- theta - eta lambda Adam(g), then
theta <- theta - eta (1 - lambda) gamma (theta - theta*), then theta <- theta - eta wd theta. The head has lambda = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.layers import is_head
from ftbench.training.seeds import derived

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context


class RecAdam(Method):
    """Scales the rate of the loop's AdamW by lambda for one step, then pulls and decays, and puts the rate back."""

    name = "recadam"
    summary = "Adam with a pull to the pretrained weights that fades out as training goes on"
    paper = "Chen et al. (2020), Recall and Learn: Fine-tuning Deep Pretrained Language Models with Less Forgetting"
    reference_code = "Sanyuan-Chen/RecAdam @ 505ba3c"
    formula = "theta -= eta (lambda Adam(g) + (1 - lambda) gamma (theta - theta*)), lambda = sigmoid(k (t - t0))"
    deviations = (
        "training starts from the pretrained weights; the published commands start from random ones (`start: random`)",
        "epsilon is added to the corrected root of the second moment, as everywhere here (the reference: uncorrected)",
        "a step pulls at most all the way to theta* (the reference overshoots where eta gamma is above 1)",
        "t0 may be a share of all steps, which is the default: a fixed number of steps does not fit all run lengths",
        "a t0 behind the last step is refused: the task would not be learnt",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="one copy of the weights")
    search = {"settings.slope": (0.05, 0.1, 0.2, 0.5, 1.0), "settings.midpoint_steps": (100, 250, 500, 1000)}
    stays_near_start = True
    needs_initial = True

    class Config(Strict):
        gamma: float = Field(5000.0, ge=0, description="strength of the pull; times rate and 1 - lambda, at most 1")
        slope: float = Field(0.1, gt=0, description="k: how fast the task takes over, per step")
        midpoint_share: float = Field(
            0.05, ge=0, lt=1, description="t0 as a share of all steps: there task and recall have equal parts"
        )
        midpoint_steps: int | None = Field(None, ge=0, description="t0 in steps instead")
        start: Literal["pretrained", "random"] = Field(
            "pretrained", description="random: train from new weights that are pulled to the pretrained ones"
        )

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.optimizer: torch.optim.Optimizer | None = None
        self.anchor: dict[str, torch.Tensor] = {}  # theta*, of the pretrained part
        self.decays: list[float] = []  # weight decay of each group, which the optimiser must not apply itself
        self.rates: list[float] = []  # learning rate of each group while a scaled one is in place

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        return [
            f"`recadam` with `{other.name}`, which holds weights near their start as well; expected one of them"
            for other in others
            if other.stays_near_start
        ]

    @classmethod
    def check_steps(cls, config: Any, steps: int, per_epoch: int | None) -> list[str]:
        if not config.midpoint_steps or config.midpoint_steps < steps:
            return []
        return [
            f"`midpoint_steps: {config.midpoint_steps}` in a run of {steps} steps, which would not learn the task; "
            f"expected at least {config.midpoint_steps + 1} steps, or a smaller `midpoint_steps`"
        ]

    def prepare_model(self, context: Context) -> None:
        import torch

        if self.config.start == "pretrained":
            return
        model = context.model
        with torch.random.fork_rng():
            torch.manual_seed(derived(context.init_seed, "noise", self.name, "start"))
            drawn = dict(type(model)(model.config).named_parameters())
        for name, parameter in model.named_parameters():
            if name in drawn and drawn[name].shape == parameter.shape and not is_head(name, model):
                self.anchor[name] = parameter.detach().clone()
                parameter.data.copy_(drawn[name].data)

    def parameter_groups(self, groups: list[dict[str, Any]], context: Context) -> list[dict[str, Any]]:
        """Split each group into pretrained part and head, whose rates differ within a step."""
        divided = []
        for group in groups:
            for head in (False, True):
                members = [
                    (name, parameter)
                    for name, parameter in zip(group["names"], group["params"], strict=True)
                    if is_head(name, context.model) == head
                ]
                if members:
                    names, parameters = zip(*members, strict=True)
                    divided.append({**group, "names": list(names), "params": list(parameters)})
        return divided

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, context: Context) -> torch.optim.Optimizer:
        for reason in self.check_steps(self.config, context.total_steps, None):
            raise FtbenchError(f"`recadam`: found {reason}")
        names = self._names(context)
        for group in optimizer.param_groups:
            if len({is_head(names[id(parameter)], context.model) for parameter in group["params"]}) > 1:
                raise FtbenchError(
                    "`recadam`: found an optimiser group with parts of both the head and the pretrained model, whose "
                    "rates differ; put `recadam` behind the method that makes the groups"
                )
        self.anchor = {**context.initial, **self.anchor}
        self.optimizer = optimizer
        self.decays = [float(group["weight_decay"]) for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
        return optimizer

    def midpoint(self, context: Context) -> float:
        """t0 in steps."""
        steps = self.config.midpoint_steps
        return float(steps) if steps is not None else self.config.midpoint_share * context.total_steps

    def task_part(self, context: Context) -> float:
        """lambda_t = 1 / (1 + exp(-k (t - t0))), t from 1."""
        exponent = -self.config.slope * (context.step - self.midpoint(context))
        return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))

    def _names(self, context: Context) -> dict[int, str]:
        return {id(parameter): name for name, parameter in context.model.named_parameters()}

    def gradients_clipped(self, context: Context) -> None:
        assert self.optimizer is not None
        names, part = self._names(context), self.task_part(context)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            if not is_head(names[id(group["params"][0])], context.model):
                group["lr"] *= part

    def after_step(self, context: Context) -> None:
        import torch

        assert self.optimizer is not None
        names, part = self._names(context), self.task_part(context)
        groups = zip(self.optimizer.param_groups, self.rates, self.decays, strict=True)
        with torch.no_grad():
            for group, rate, decay in groups:
                group["lr"] = rate
                pull = min(1.0, rate * (1 - part) * self.config.gamma)
                for parameter in group["params"]:
                    name = names[id(parameter)]
                    if not is_head(name, context.model):
                        parameter.sub_(parameter - self.anchor[name], alpha=pull)
                    if decay:
                        parameter.mul_(1 - rate * decay)
