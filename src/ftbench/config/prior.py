"""The type of a study's `prior`: what its models know before fine-tuning, and how that is read and judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ftbench.config.strict import Name, Strict


class Prior(Strict):
    """A task that the model knows before fine-tuning: the graph trains it, and measures what is lost."""

    name: Name = Field("prior", description="its name in the tables")
    dataset: Name = Field(description="name of a data-set entry: labelled, scored, or plain text")
    objective: Literal["masked", "causal"] | None = Field(
        None, description="of plain text: what the base model's own language-model head is asked for; else null"
    )
    words: float = Field(
        1.0, gt=0, le=1, description="of plain text: share of a row's supervised words that must be right for the row"
    )
    pool: Name = Field("pool", description="split that the model is trained on; a rehearsal pool")
    evaluation: Name = Field("evaluation", description="split that is only ever evaluated")
    rows: int | None = Field(
        None, gt=0, description="stratified subset of the pool to train on, and to rehearse; null: all rows"
    )
    evaluation_rows: int | None = Field(None, gt=0, description="stratified subset to evaluate on; null: all rows")
    trained: Literal["graph", "checkpoint"] = Field(
        "graph", description="who trained it: this graph, or the checkpoint comes with a head for these labels"
    )
    head: Literal["separate", "shared"] = Field(
        "separate", description="shared: the same labels as the tasks, whose runs start from and train the prior's head"
    )
    tolerance: float = Field(
        0.1, ge=0, description="of a prior regression: share of the score's range within which a prediction is right"
    )
    clusters: int | None = Field(None, ge=2, description="k-means clusters of the prior rows' features; null: none")
    training: dict[str, Any] = Field(
        default_factory=dict, description="overrides of the study's training settings for the prior task"
    )
