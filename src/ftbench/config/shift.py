"""The types of the keys `shift` and `robustness` of a study: how far sets are from training, and what withstands it."""

from __future__ import annotations

from pydantic import Field

from ftbench.config.strict import Name, Strict


class Shift(Strict):
    """How the distance of evaluation sets from the training rows is measured."""

    encoder: Name | None = Field(
        None, description="model entry whose embeddings are compared; null: the study's first model"
    )
    rows: int = Field(
        1000, ge=50, description="distinct texts of a set, and of the training rows, that are embedded; more cost time"
    )


class Robustness(Strict):
    """Which runs show how shifted scores follow in-domain ones, and which groups of rows are looked at alone."""

    family: list[str] = Field(
        default_factory=list,
        description="`METHOD` or `METHOD/VARIANT`: their runs, of all seeds and models, are the points of the trend;"
        " empty: the baseline in all its variants",
    )
    groups: list[Name] = Field(
        ["label"],
        description="what rows are grouped by for the worst group: `label`, or a further column (`aux`) of an entry",
    )
