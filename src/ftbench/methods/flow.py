"""FLOW: rows that the pretrained model finds easy weigh more, so that fine-tuning moves it less.

Paper: Sanyal, Prairie, Das, Kavis and Sanghavi (2025), Upweighting Easy Samples in Fine-Tuning Mitigates Forgetting.
Reference code: sanyalsunny111/FLOW_finetuning @ f0011b7. Formula: w_i = exp(-l_i / tau), tau = median_i l_i, losses
under the model before fine-tuning; the objective is mean_i w_i CE_i. No prior data is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.methods.base import Cost, Method, State

if TYPE_CHECKING:
    import torch

    from ftbench.config.study import Training
    from ftbench.methods.base import Context
    from ftbench.training.batches import Batch
    from ftbench.training.examples import Examples


class Flow(Method):
    """Cross-entropy weighted row by row with exp(-loss before / median loss before)."""

    name = "flow"
    summary = "rows that the pretrained model finds easy weigh more (FLOW)"
    paper = "Sanyal et al. (2025), Upweighting Easy Samples in Fine-Tuning Mitigates Forgetting"
    reference_code = "sanyalsunny111/FLOW_finetuning @ f0011b7"
    formula = "mean_i w_i CE_i, w_i = exp(-l_i / tau), tau = median_i l_i under the model before fine-tuning"
    deviations = (
        "weights are computed once, without augmentation or dropout (the vision code evaluates the probe in every"
        " batch)",
        "the linear probe is a logistic regression on mean hidden states, solved to its optimum",
        "the second round of the vision code, which trains the head alone with plain losses, is left out",
        "`level: token` weighs the tokens of the label words under the verbaliser, and the row's one loss stands for"
        " the loss of each of them: a classified text has no other supervised tokens",
        "label words are as many tokens for every label, and a token competes with those of the other labels at its"
        " place, not with the whole vocabulary",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="8 bytes a training row; one forward pass over them first")
    owns_criterion: ClassVar[bool] = True

    class Config(Strict):
        head: Literal["linear_probe", "prior", "verbaliser"] = Field(
            "linear_probe",
            description="what judges rows before fine-tuning: a probe on frozen features, the prior task's head"
            " (same labels), or words that a masked language model puts in a gap",
        )
        normalize: Literal["none", "mean1"] = Field(
            "none", description="mean1: divide by the mean weight; without it the learning rate is lowered in effect"
        )
        level: Literal["sequence", "token"] = Field(
            "sequence",
            description="what has a weight: a row by the mean loss of its tokens, or each token of its label word by"
            " its own loss, which needs `head: verbaliser`; the same for words of one token",
        )
        tau: float | None = Field(
            None, gt=0, description="temperature; null: the median loss of the training rows, or of their tokens"
        )
        template: str = Field(
            "{text_a} {text_b} {mask}", description="of the verbaliser: the text with its gap; {text_b} may stay empty"
        )
        words: dict[str, str] = Field(
            default_factory=dict, description="of the verbaliser: label to its word, as many tokens for each label"
        )

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.weights: torch.Tensor | None = None  # by row of the training set
        self.tau = 0.0
        self.rows: Examples | None = None

    @classmethod
    def wants_prior(cls, config: Any) -> bool:
        return bool(config.head == "prior")

    @classmethod
    def wants_prior_labels(cls, config: Any) -> bool:
        return cls.wants_prior(config)

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        found = []
        if kind != "classification":
            found.append(f"a {kind}; the weights are defined for cross-entropies")
        if config.head == "verbaliser":
            found += _template_problems(config.template)
            if len(config.words) < 2:
                found.append("`head: verbaliser` without a word for each label under `words`")
        elif config.level == "token":
            found.append(
                f"`level: token` with `head: {config.head}`, under which a text has one loss and no tokens; expected "
                "`head: verbaliser`, or `level: sequence`"
            )
        return found

    def examples(self, examples: Examples, context: Context) -> Examples:
        self.rows = examples
        return examples

    def prologue(self, context: Context) -> None:
        from ftbench.training.flow_weights import row_factors, temperature

        if self.weights is not None:
            return
        losses = self.losses(context)
        if losses.ndim == 2 and self.config.level == "sequence":
            losses = losses.mean(dim=1)
        self.tau = self.config.tau or temperature(losses)
        self.weights = row_factors(losses, self.tau, self.config.normalize).cpu()

    def losses(self, context: Context) -> torch.Tensor:
        """Losses of the training rows (rows,) before fine-tuning, under the head that the settings name; of the
        verbaliser those of their tokens (rows, tokens). A head that knows nothing is refused."""
        from ftbench.training.flow_weights import pooled_features, prior_head_losses, probe_losses, refuse_untrained
        from ftbench.training.verbaliser import guessing_loss, verbaliser_losses

        if self.config.head == "verbaliser":
            assert self.rows is not None
            tokens = verbaliser_losses(context, self.rows, self.config.template, self.config.words)
            refuse_untrained(tokens.mean(dim=1), guessing_loss(context, self.config.words))
            return tokens
        found = prior_head_losses(context) if self.config.head == "prior" else probe_losses(*pooled_features(context))
        refuse_untrained(found, math.log(int(context.model.config.num_labels)))  # type: ignore[union-attr,arg-type]
        return found

    def criterion(self, logits: torch.Tensor, batch: Batch, context: Context) -> torch.Tensor:
        import torch
        from torch.nn import functional

        assert self.weights is not None
        assert batch.targets is not None
        weights = self.weights[torch.from_numpy(batch.rows)].to(logits.device, logits.dtype)
        return (weights * functional.cross_entropy(logits, batch.targets, reduction="none")).mean()

    def record(self) -> dict[str, Any]:
        if self.weights is None:
            return {}
        return {"notes": f"flow: tau {self.tau:.4f}, mean weight {float(self.weights.mean()):.4f}"}

    def state_dict(self) -> State:
        return {} if self.weights is None else {"weights": self.weights, "tau": self.tau}

    def load_state_dict(self, state: State) -> None:
        self.weights, self.tau = state["weights"].cpu(), float(state["tau"])


def _template_problems(template: str) -> list[str]:
    """What keeps a template from being filled: no gap or two, no text, or names that nothing fills."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        return [f"`template`: `{template}`, which cannot be read ({error}); write a brace of the text twice"]
    found = [f"`template` with {{{name}}}; expected {{text_a}}, {{text_b}} and {{mask}}" for name in names
             if name not in ("text_a", "text_b", "mask")]  # fmt: skip
    if names.count("mask") != 1:
        found.append(f"`head: verbaliser` with {names.count('mask')} {{mask}} in `template`; expected one")
    if "text_a" not in names:
        found.append("`template` without {text_a}, the text to judge")
    return found
