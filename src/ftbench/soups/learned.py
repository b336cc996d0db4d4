"""Learned soup: the weights of the mean are trained on one part of the `select` rows, and compared on the other.

Only the weights of the mean are learnt, one set for the model, for each block or for each tensor. The gradient with
respect to them comes from one backward pass at the mixed weights: dL/d alpha_m = <dL/d theta, theta_m>, streamed over
the ingredients, so that not all of them need to lie in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.soups.base import Decision, Kitchen, Recipe

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ftbench.merging.streaming import Parts, Rule
    from ftbench.soups.laboratory import Laboratory
    from ftbench.training.batches import Batch


def grouped_mean(shares: Mapping[str, Mapping[str, float]], group_of: Mapping[str, str]) -> Rule:
    """The rule sum_i w_(group, i) theta_i; `group_of` maps tensors to groups, others are in the group `rest`."""

    def merged(parts: Parts) -> torch.Tensor:
        from ftbench.merging.streaming import weighted_sum

        weights = shares[group_of.get(parts.name, "rest")]
        return weighted_sum([parts.of(run) for run in weights], list(weights.values()), parts.accumulate)

    return merged


def groups(model: torch.nn.Module, granularity: str) -> dict[str, str]:
    """Parameter name to the name of its group."""
    from ftbench.training.layers import layer_groups

    names = [name for name, _ in model.named_parameters()]
    if granularity == "model":
        return dict.fromkeys(names, "model")
    if granularity == "tensor":
        return {name: name for name in names}
    found = layer_groups(model)
    blocks = {name: f"block {depth}" for depth, block in enumerate(found.blocks) for name in block}
    return {
        **dict.fromkeys(found.embeddings, "embeddings"),
        **blocks,
        **dict.fromkeys(found.top, "top"),
        **dict.fromkeys(found.head, "head"),
    }


class Mixture:
    """The learnt numbers: a (groups, ingredients), whose softmax over the ingredients is alpha, and beta."""

    def __init__(self, laboratory: Laboratory, runs: list[str], granularity: str) -> None:
        import torch

        self.laboratory, self.runs = laboratory, runs
        self.group_of = groups(laboratory.model, granularity)
        self.names = [*dict.fromkeys(self.group_of.values()), "rest"]  # the rest are buffers, which stay a plain mean
        self.a = torch.ones(len(self.names), len(runs), dtype=torch.float64, requires_grad=True)
        self.beta = torch.ones((), dtype=torch.float64, requires_grad=True)

    def shares(self) -> dict[str, dict[str, float]]:
        """alpha by group and run."""
        alpha = self.a.detach().softmax(1).tolist()
        return {name: dict(zip(self.runs, row, strict=True)) for name, row in zip(self.names, alpha, strict=True)}

    def rule(self) -> Rule:
        return grouped_mean(self.shares(), self.group_of)

    def pass_over(self, batch: Batch) -> float:
        """One batch: puts the gradients of `a` and `beta` in place and returns the loss."""
        import torch
        from torch.nn import functional

        from ftbench.merging.geometry import dot

        laboratory, model = self.laboratory, self.laboratory.model
        laboratory.fill(laboratory.merger(self.rule()).tensors())
        slopes = torch.zeros_like(self.a)
        position = {name: number for number, name in enumerate(self.names)}

        def reader(name: str) -> Any:
            def read(parameter: torch.Tensor) -> None:
                assert parameter.grad is not None
                gradient = parameter.grad.cpu()
                for column, run in enumerate(self.runs):
                    slopes[position[self.group_of[name]], column] += dot(gradient, laboratory.sources[run].tensor(name))
                parameter.grad = None

            return read

        model.eval()
        model.requires_grad_(True)
        stored = laboratory.sources[self.runs[0]].layout
        hooks = [
            parameter.register_post_accumulate_grad_hook(reader(name))  # type: ignore[no-untyped-call]
            for name, parameter in model.named_parameters()
            if name in stored
        ]
        self.beta.grad = None
        outputs = model(**batch.inputs).logits.float() * self.beta.float().to(laboratory.place)
        assert batch.targets is not None
        if laboratory.kind == "regression":
            loss = functional.mse_loss(outputs.squeeze(-1), batch.targets.float())
        else:
            loss = functional.cross_entropy(outputs, batch.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        for hook in hooks:
            hook.remove()
        model.requires_grad_(False)
        alpha = self.a.detach().softmax(1)
        self.a.grad = alpha * (slopes - (alpha * slopes).sum(1, keepdim=True))
        return float(loss.detach())


class Learned(Recipe):
    """All candidates."""

    name = "learned"
    summary = "a mean whose weights are trained on a part of the `select` rows"
    paper = "Wortsman et al. (2022), Model soups"
    reference_code = "mlfoundations/model-soups, learned.py"
    formula = "theta_l = sum_m softmax(a_l)_m theta_l^(m); a, beta <- AdamW(grad CE(beta f(x; theta), y))"
    deviations = (
        "the select rows are split: one part is learnt from, scores come from the other",
        "gradients of the weights are streamed over the ingredients; the code keeps all of them in memory",
        "beta is learnt and recorded but not put into the weights: it changes no prediction",
    )
    learns_on_select = True

    class Config(Strict):
        granularity: Literal["model", "block", "tensor"] = Field("tensor", description="what has weights of its own")
        learnt_share: float = Field(0.5, gt=0, lt=1, description="part of the `select` rows that is learnt from")
        epochs: int = Field(5, ge=1, description="passes over that part")
        learning_rate: float = Field(0.05, gt=0, description="of AdamW without decay")
        batch_size: int = Field(32, ge=1, description="rows of a step")
        seed: int = Field(0, ge=0, description="seed of the split and of the order of rows")

    def decide(self, kitchen: Kitchen) -> Decision:
        import torch

        runs = [candidate.run_id for candidate in kitchen.candidates]
        if len(runs) == 1:
            return Decision({runs[0]: 1.0})
        laboratory = kitchen.laboratory
        assert laboratory is not None
        rows = laboratory.divide(self.config.learnt_share, self.config.seed)
        mixture = Mixture(laboratory, runs, self.config.granularity)
        optimizer = torch.optim.AdamW([mixture.a, mixture.beta], lr=self.config.learning_rate, weight_decay=0.0)
        losses = [self._epoch(laboratory, mixture, optimizer, rows, epoch) for epoch in range(self.config.epochs)]
        shares = mixture.shares()
        del shares["rest"]
        means = {run: sum(row[run] for row in shares.values()) / len(shares) for run in runs}
        details = {
            "beta": float(mixture.beta.detach()),
            "learnt_rows": len(rows),
            "losses": losses,
            "group_weights": shares,
        }
        return Decision(means, rule=mixture.rule(), varying=len(shares) > 1, details=details)

    def _epoch(self, laboratory: Laboratory, mixture: Mixture, optimizer: Any, rows: np.ndarray, epoch: int) -> float:
        from ftbench.training.seeds import numpy_generator

        order = numpy_generator(self.config.seed, "soup", "learned", epoch).permutation(rows)
        losses = []
        for batch in laboratory.batches(order, self.config.batch_size):
            losses.append(mixture.pass_over(batch) * len(batch))
            optimizer.step()
        mean = sum(losses) / len(order)
        print(f"learnt soup, epoch {epoch + 1} of {self.config.epochs}: loss {mean:.4f}", flush=True)
        return mean
