"""The part of a study that tells rows from outside the task from the task's own (`detection`)."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ftbench.config.strict import Name, Strict

Score = Literal["msp", "max_logit", "energy", "entropy", "mahalanobis", "relative_mahalanobis", "knn"]


class Likelihood(Strict):
    """The likelihood ratio: a language model as it was pretrained against the same one trained on the task's texts.

    No run takes part: a fine-tuned classifier has no language-model head. S(x) = log p_pretrained - log p_adapted, as a
    sum over tokens and as their mean (Zhang et al., 2024). A masked model has no p(x); its scores are named after the
    pseudo-likelihood that stands in for it.
    """

    objective: Literal["masked", "causal"] = Field(
        description="causal: exact log-likelihoods; masked: pseudo-log-likelihoods, tokens given all others"
    )
    models: list[Name] | None = Field(
        None, min_length=1, description="model entries saved with a language-model head; null: the study's models"
    )
    pll: Literal["exact", "onepass"] = Field(
        "exact", description="of `masked`: hide one token a pass, as many passes as tokens; or one pass, nothing hidden"
    )
    tokens: int | None = Field(
        64, gt=0, description="of `masked`: tokens of a row that are asked for, at most, drawn by its id; null: all"
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="overrides of the study's training settings for training on the task's texts"
    )

    @model_validator(mode="after")
    def _masked_only(self) -> Self:
        if self.objective == "causal" and self.pll == "onepass":
            raise ValueError(
                "`pll: onepass` with `objective: masked` only: causal likelihoods take one pass as they are"
            )
        return self

    @property
    def score(self) -> str:
        """What the tables call the sum; `_mean` behind it is the mean over tokens."""
        if self.objective == "causal":
            return "likelihood_ratio"
        return "pseudo_likelihood_ratio" if self.pll == "exact" else "onepass_likelihood_ratio"


class Detection(Strict):
    """Out-of-distribution detection: every score is high for rows from outside, which are the positive class."""

    inside: Name | None = Field(None, description="set that stands for the task; null: its first one of role `id`")
    outside: list[Name] | None = Field(
        None, min_length=1, description="sets that stand for the outside; null: every one of role `ood`"
    )
    scores: list[Score] = Field(
        ["msp", "max_logit", "energy", "entropy"],
        min_length=1,
        description="scores of each artifact: from its stored logits, or from its last layer (`mahalanobis`,"
        " `relative_mahalanobis`, `knn`), for which a job of its own reads training and evaluation rows",
    )
    temperature: float = Field(1.0, gt=0, description="of the energy; fixed, not fitted")
    neighbours: int = Field(50, gt=0, description="of `knn`; at most the root of the number of training rows")
    train_rows: int = Field(5000, gt=1, description="training rows that features are taken from, at most; stratified")
    accepted: float = Field(
        0.95, gt=0, lt=1, description="share of the `select` rows that the threshold lets pass; nothing else sets it"
    )
    likelihood: Likelihood | None = Field(None, description="score by likelihoods of language models too; null: not")
    resamples: int = Field(1000, ge=0, description="bootstrap resamples of the AUROC over rows; 0: no intervals")

    @property
    def features(self) -> bool:
        """Whether a score needs what the last layer reads."""
        return bool({"mahalanobis", "relative_mahalanobis", "knn"} & set(self.scores))
