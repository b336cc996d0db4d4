"""The part of a study that tells rows from outside the task from the task's own (`detection`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftbench.config.strict import Name, Strict

Score = Literal["msp", "max_logit", "energy", "entropy", "mahalanobis", "relative_mahalanobis", "knn"]


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
    resamples: int = Field(1000, ge=0, description="bootstrap resamples of the AUROC over rows; 0: no intervals")

    @property
    def features(self) -> bool:
        """Whether a score needs what the last layer reads."""
        return bool({"mahalanobis", "relative_mahalanobis", "knn"} & set(self.scores))
