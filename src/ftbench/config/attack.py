"""The type of an attack entry of a study: which plug-in, on which rows, against which artifacts.

`config/study.py` holds a mapping of them; which attacks that makes is worked out in `ftbench.matrix`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ftbench.config.strict import Name, Strict


class AttackEntry(Strict):
    """One attack of a study under the name that the tables show. It is a job of its own for every artifact and seed."""

    use: Name | None = Field(None, description="attack plug-in; null: the one of this name")
    settings: dict[str, Any] = Field(default_factory=dict, description="values of the attack's own configuration")
    tasks: list[Name] | None = Field(None, min_length=1, description="tasks that are attacked; null: all")
    sets: list[Name] | None = Field(
        None, min_length=1, description="evaluation sets that are attacked; null: each task's in-domain sets"
    )
    rows: int | None = Field(
        500, gt=0, description="fixed stratified sample of each set, the same for all artifacts and attacks; null: all"
    )
    shards: int = Field(1, gt=0, le=1000, description="jobs that share the rows of one artifact")
    seeds: list[int] | None = Field(
        None, min_length=1, description="attack seeds; null: 0, 1, 2 where the attack draws at random, else 0"
    )
    kinds: list[Literal["run", "soup"]] = Field(["run"], min_length=1, description="kinds of artifacts attacked")
    methods: list[Name] | None = Field(None, min_length=1, description="methods whose artifacts; null: all")
    run_seeds: list[int] | None = Field(None, min_length=1, description="seeds whose runs; null: all")
    transfer: bool = Field(
        False, description="ask every other artifact of the task about the texts that fooled one; first attack seed"
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for key in ("tasks", "sets", "seeds", "kinds", "methods", "run_seeds"):
            values = getattr(self, key) or []
            if len(set(values)) != len(values):
                raise ValueError(f"every value once under `{key}`")
        if any(seed < 0 for seed in self.seeds or []):
            raise ValueError("seeds of 0 or more under `seeds`")
        return self
