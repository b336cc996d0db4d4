"""EWC: changes of the encoder are charged by how much the prior task's likelihood depends on each weight.

Paper: Kirkpatrick et al. (2017), Overcoming catastrophic forgetting in neural networks.
Formula: L + lambda/2 sum_j F_j (theta_j - theta0_j)^2, F the mean of squared gradients of log p(y|x) at theta0 over
rows of the prior pool, one row at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State
from ftbench.training.layers import is_encoder
from ftbench.training.prior_task import PriorModel, needed
from ftbench.training.token_statistics import IGNORED

if TYPE_CHECKING:
    import torch

    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch


class Ewc(Method):
    """Elastic weight consolidation on the embeddings and blocks, which the tasks share."""

    name = "ewc"
    summary = "penalty on changes of weights that the prior task depends on (elastic weight consolidation)"
    paper = "Kirkpatrick et al. (2017), Overcoming catastrophic forgetting in neural networks"
    formula = "L + lambda/2 sum_j F_j (theta_j - theta0_j)^2, F_j = mean_i (d log p(y_i|x_i) / d theta_j)^2"
    deviations = (
        "the Fisher information is estimated on a fixed sample of the prior pool, not on the whole prior set",
        "heads are not held: the prior task's is not trained, and the new one has no former value",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="8 bytes per weight of the encoder; a pass over the sample first")
    needs_initial: ClassVar[bool] = True
    needs_prior: ClassVar[bool] = True
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"settings.strength": (1.0, 10.0, 100.0, 1000.0, 10000.0)}

    class Config(Strict):
        strength: float = Field(100.0, ge=0, description="lambda; no value fits all, commonly searched by powers of 10")
        rows: int = Field(256, gt=0, description="rows of the pool that the Fisher information is estimated on")
        labels: Literal["model", "data"] = Field(
            "model", description="model: labels drawn from the model's own probabilities; data: the rows' labels"
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.fisher: dict[str, torch.Tensor] = {}

    def prologue(self, context: Context) -> None:
        if not self.fisher:
            self.fisher = fisher_information(context, self.config.rows, self.config.labels)

    def loss(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        penalty = loss.new_zeros(())
        for name, parameter in context.model.named_parameters():
            if name in self.fisher and parameter.requires_grad:
                penalty = penalty + (self.fisher[name] * (parameter - context.initial[name]).square()).sum()
        strength: float = self.config.strength
        return loss + 0.5 * strength * penalty

    def state_dict(self) -> State:
        return dict(self.fisher)

    def load_state_dict(self, state: State) -> None:
        self.fisher = dict(state)


def fisher_information(context: Context, rows: int, labels: Literal["model", "data"]) -> dict[str, torch.Tensor]:
    """The diagonal of the Fisher information of the encoder at the present weights, by parameter name.

    A regression is read as a Gaussian of unit variance: d log p / d theta = (y - f) d f / d theta, and labels drawn
    from the model make the first factor a standard normal number. A row of text is the product of its supervised
    words, each given the row with its gaps.
    """
    import numpy as np
    import torch

    from ftbench.training.seeds import numpy_generator, torch_generator

    prior, model = needed(context), PriorModel(context)
    chosen = numpy_generator(0, "fisher").permutation(len(prior))[:rows]  # the same for all runs of a study
    generator = torch_generator(0, "fisher", "labels")
    place = next(context.model.parameters()).device
    named = [(n, p) for n, p in context.model.named_parameters() if p.requires_grad and is_encoder(n, context.model)]
    sums = {name: torch.zeros_like(parameter) for name, parameter in named}
    training = context.model.training
    context.model.eval()
    for row in chosen:
        batch = prior.batch(np.array([row]), place)
        assert batch.targets is not None
        logits = model.logits(context, batch)
        if prior.question is not None:
            asked = batch.targets[0] != IGNORED
            rates = logits[0][asked].log_softmax(dim=-1)
            target = batch.targets[0][asked]
            if labels == "model" and len(rates):
                target = torch.multinomial(rates.detach().exp().cpu(), 1, generator=generator)[:, 0].to(place)
            score = rates.gather(1, target[:, None]).sum()
        elif prior.kind == "regression":
            drawn = torch.randn((), generator=generator).to(place)
            error = drawn if labels == "model" else (batch.targets - logits.squeeze(-1)).detach()
            score = (error * logits.squeeze(-1)).sum()
        else:
            shares = logits[0].detach().softmax(dim=0).cpu()
            drawn = torch.multinomial(shares, 1, generator=generator)[0]
            label = int(drawn) if labels == "model" else int(batch.targets[0])
            score = logits[0].log_softmax(dim=0)[label]
        gradients = torch.autograd.grad(score, [p for _, p in named], allow_unused=True)
        for (name, _), gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                sums[name] += gradient.detach().square()
    context.model.train(training)
    return {name: total / len(chosen) for name, total in sums.items()}
