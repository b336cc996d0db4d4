"""Shallow ensemble: train beside a frozen bag-of-words model, so that the network learns what that one cannot tell.

Paper: Clark et al. (2019), Don't Take the Easy Way Out: Ensemble Based Methods for Avoiding Known Dataset Biases
(learned mixin). Reference code: chrisc36/debias @ 98033fd; lifan-yuan/OOD_NLP @ 974d49e.
Formula: s = softplus(w h + c), r = s b with b the shallow model's log-probabilities and h the mean last hidden
state; loss = CE(log softmax(z) + r, y) + penalty * entropy(softmax(r)). Only z is used at test time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.errors import FtbenchError
from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method
from ftbench.training.layers import backbone_prefix
from ftbench.training.seeds import derived
from ftbench.training.shallow import shallow_probabilities

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch
    from ftbench.training.examples import Examples

GATE = "shallow_gate"  # the added linear unit, a module of the model while it is trained
LEAST = 1e-4  # probabilities below count as this: a forest's zeros would rule a label out for ever


def mixin_loss(
    logits: torch.Tensor, gate: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor, penalty: float
) -> torch.Tensor:
    """The learned-mixin loss. logits, bias: (rows, labels); gate: (rows, 1), before its softplus; targets: (rows,)."""
    import torch
    from torch.nn import functional

    scaled = functional.softplus(gate) * bias
    joint = torch.log_softmax(logits, dim=-1) + scaled
    logs = torch.log_softmax(scaled, dim=-1)
    entropy = -(logs.exp() * logs).sum(dim=-1).mean()
    return functional.cross_entropy(joint, targets) + penalty * entropy


class ShallowEnsemble(Method):
    """Keeps a table of shallow predictions by training row, and one linear unit that is dropped at the end."""

    name = "shallow_ensemble"
    summary = "training beside a frozen bag-of-words model, to learn what it cannot tell (learned mixin)"
    paper = "Clark et al. (2019), Don't Take the Easy Way Out: Ensemble Based Methods for Avoiding Known Dataset Biases"
    reference_code = "chrisc36/debias @ 98033fd; lifan-yuan/OOD_NLP @ 974d49e"
    formula = "CE(log softmax(z) + r, y) + penalty * entropy(softmax(r)), r = softplus(w h + c) b"
    deviations = (
        "shallow predictions are cross-fitted (OOD_NLP: of the rows fitted on, which are almost certain; `folds: 1`)",
        "b are log-probabilities, at least log 1e-4, as in the paper (OOD_NLP: probabilities; `bias: probabilities`)",
        "h is the mean of the last hidden states over the tokens that are not padding",
        "w and c start at zero, so that runs of different seeds start alike",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="one number per training row and label")
    search = {"settings.entropy_penalty": (0.0, 0.01, 0.03, 0.1)}  # around the released value
    owns_criterion = True

    class Config(Strict):
        bias: Literal["log_probabilities", "probabilities"] = Field(
            "log_probabilities", description="what of the shallow model is added to the logits"
        )
        entropy_penalty: float = Field(0.03, ge=0, description="strength of the penalty that keeps the bias in use")
        words: int = Field(5000, gt=0, description="commonest words that the shallow model sees")
        trees: int = Field(100, gt=0, description="trees of its random forest")
        folds: int = Field(5, ge=1, description="parts for cross-fitting; 1: it predicts the rows it was fitted on")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.table: torch.Tensor | None = None  # b: (training rows, labels)
        self.hidden: torch.Tensor | None = None  # h of the latest pass: (rows, width)

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        reasons = []
        if kind == "regression":
            reasons.append("`shallow_ensemble` on a regression; expected a classification")
        reasons += [
            f"`shallow_ensemble` with `{other.name}`, which changes the training rows: copies of a row would give each "
            "other's label away; expected one of them"
            for other in others
            if other.examples is not Method.examples
        ]
        return reasons

    def examples(self, examples: Examples, context: Context) -> Examples:
        import torch

        assert examples.targets is not None
        second = examples.text_b
        texts = [text if second is None else f"{text} {second[row]}" for row, text in enumerate(examples.text_a)]
        probabilities = torch.from_numpy(
            shallow_probabilities(
                texts,
                examples.targets,
                int(context.model.config.num_labels),  # type: ignore[union-attr,arg-type]
                self.config.words,
                self.config.trees,
                self.config.folds,
                derived(context.seed, "noise", self.name) % 2**32,
            )
        )
        logs = self.config.bias == "log_probabilities"
        self.table = probabilities.clamp(min=LEAST).log() if logs else probabilities
        return examples

    def prepare_model(self, context: Context) -> None:
        import torch

        model = context.model
        gate = torch.nn.Linear(int(model.config.hidden_size), 1)  # type: ignore[union-attr,arg-type]
        for parameter in gate.parameters():
            torch.nn.init.zeros_(parameter)
        model.add_module(GATE, gate.to(next(model.parameters()).device))
        backbone = model.get_submodule(backbone_prefix(model).removesuffix("."))
        backbone.register_forward_hook(self._keep_hidden, with_kwargs=True)

    def _keep_hidden(self, module: torch.nn.Module, given: Any, named: dict[str, Any], output: Any) -> None:
        if not module.training:
            return
        states = output[0].float()
        mask = named["attention_mask"].to(states.dtype)[..., None]
        self.hidden = (states * mask).sum(dim=1) / mask.sum(dim=1)

    def criterion(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        import torch

        assert batch.targets is not None
        if self.table is None or self.hidden is None:
            raise FtbenchError("`shallow_ensemble`: found no shallow predictions; its hook `examples` was not called")
        rows = torch.from_numpy(batch.rows)
        bias = self.table[rows].to(logits.device)
        gate = context.model.get_submodule(GATE)(self.hidden)
        return mixin_loss(logits, gate, bias, batch.targets, self.config.entropy_penalty)

    def after_step(self, context: Context) -> None:
        self.hidden = None  # with the graph behind it

    def export(self, state: dict[str, torch.Tensor], context: Context) -> dict[str, torch.Tensor]:
        return {name: tensor for name, tensor in state.items() if not name.startswith(f"{GATE}.")}
