"""The part of a study that combines runs: families of runs, and the soups, ensembles and paths made of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ftbench.config.strict import Name, Strict


class Family(Strict):
    """Runs that belong together, and along what they differ."""

    over: Literal["seeds", "variants", "methods", "tasks"] = Field(
        "seeds",
        description="seeds: one family for each method and variant; variants: for each method, of all variants and"
        " seeds; methods: of all runs of a task and model; tasks: as seeds, with the runs of all tasks together",
    )
    methods: list[Name] | None = Field(None, description="null: every method of the study")
    collapsed: Literal["leave_out", "keep", "refuse"] = Field(
        "leave_out", description="runs no better than the commonest answer: left out and recorded, kept, or an error"
    )


class SoupEntry(Family):
    """Soups: one for each family of runs, evaluated on the family's task (with `over: tasks`, on each of them)."""

    recipe: Name = Field(description="name of a soup plug-in")
    settings: dict[str, Any] = Field(default_factory=dict, description="values of the recipe's own configuration")
    accumulate: Literal["float64", "float32"] = Field(
        "float64", description="number format of sums; float32 is faster and gathers rounding with many ingredients"
    )
    form: Literal["plain", "as_runs"] = Field(
        "plain",
        description="plain: all weights; as_runs: LoRA runs as one adapter of all their ranks, sparse ones as one"
        " sparse difference",
    )


class EnsembleEntry(Family):
    """Ensembles, the references of soups: the mean output of a family's runs, from their stored predictions."""

    mean: Literal["logits", "probabilities"] = Field("logits", description="what is averaged")


class PathEntry(Family):
    """Lines between the weights of a family's runs, and from their start to their mean: losses and scores on them."""

    points: int = Field(11, ge=3, description="points of each line, ends included, evenly spaced")
    pairs: int = Field(3, ge=0, description="pairs of runs whose line is followed, in the order of the run ids")
    sets: list[Name] = Field(
        ["select"],
        min_length=1,
        description="evaluation sets of the task, `select` (the selection rows), or a labelled prior task by its name",
    )
    rows: int | None = Field(300, gt=0, description="fixed stratified subset of each set; null: all rows")
