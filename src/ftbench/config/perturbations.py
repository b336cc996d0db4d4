"""The type of the study key `perturbations`: which edits of which evaluation sets, how strong, how often drawn."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ftbench.config.strict import Name, Strict


class PerturbationEntry(Strict):
    """One perturbation of evaluation texts under the name that the tables show."""

    use: Name | None = Field(None, description="name of a perturbation plug-in; null: the one of this name")
    settings: dict[str, Any] = Field(default_factory=dict, description="values of the plug-in's own configuration")
    strengths: list[float] = Field(
        [0.02, 0.05, 0.1],
        min_length=1,
        description="rates above 0 and up to 1, ascending; the plug-in says of what. 0 is always there",
    )
    sets: list[Name] | None = Field(
        None, min_length=1, description="evaluation sets of the tasks; null: those with role `id` or `ood`"
    )
    rows: int | None = Field(
        500, gt=0, description="fixed stratified subset of each set, equal for all artifacts; null: all rows"
    )
    seeds: list[int] = Field([0], min_length=1, description="each draws every edit anew; scores are means over them")
    texts: Literal["both", "a", "b"] = Field("both", description="which text of a pair is edited")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(not 0 < strength <= 1 for strength in self.strengths):
            raise ValueError("`strengths` above 0 and up to 1")
        if sorted(set(self.strengths)) != self.strengths:
            raise ValueError("`strengths` in ascending order, each once")
        if len(set(self.seeds)) != len(self.seeds) or any(seed < 0 for seed in self.seeds):
            raise ValueError("every seed once, and none below 0, under `seeds`")
        return self

    def plugin(self, name: str) -> str:
        """The plug-in of the entry that stands under `name`."""
        return self.use or name
