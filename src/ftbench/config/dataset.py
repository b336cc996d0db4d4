"""The type of a data-set entry (`config/datasets/*.yaml`).

An entry says where rows come from (a pinned hub revision, a local copy under `data_root`, or a generator of
this package), which columns hold what, and which label names the values stand for.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from ftbench.config.strict import Name, Strict

Revision = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
MapRule = Literal["argmax_then_merge", "sum_then_argmax"]
Role = Literal["id", "ood", "stress", "prior", "select"]
Kind = Literal["classification", "regression", "text", "entities", "spans"]
TRAINED_KINDS = ("classification", "regression")  # what a task can be; sets of other kinds are read, or only listed


class HubSource(Strict):
    """A data set of the Hugging Face hub at a pinned commit."""

    repository: str = Field(description="`owner/name` on the hub")
    revision: Revision = Field(description="full commit hash; a branch or tag name is refused")
    config: str | None = Field(None, description="configuration (subset) of the data set, where it has several")


class GeneratedSource(Strict):
    """Rows made by a seeded generator of this package."""

    generator: Literal["language"] = Field("language", description="which generator")
    part: str = Field(description="which part of the generated language, for example `reviews`")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the generator")


class Split(Strict):
    """One split: its name in the source and the rows that are expected there."""

    source: str | None = Field(None, description="name of the split on the hub; absent where only a local copy has it")
    rows: int | None = Field(None, gt=0, description="rows at the pinned revision, unlabelled ones included")
    local_rows: int | None = Field(None, gt=0, description="rows of the known local copy")
    out_of_scope_of: Name | None = Field(
        None, description="this split holds the rows of another one whose label value stands under `out_of_scope`"
    )


class Fields(Strict):
    """Source columns of the text."""

    text_a: str = Field(description="column of the text, or of the first text of a pair")
    text_b: str | None = Field(None, description="column of the second text of a pair")
    aux: dict[Name, str] = Field(
        default_factory=dict, description="further columns to keep, our name to theirs: genre, domain, language"
    )


class LocalCopy(Strict):
    """How the copy under `data_root` differs from the hub; only what differs is given."""

    folder: str | None = Field(None, description="folder under data_root, where it is not the entry's name")
    fields: Fields | None = Field(None, description="columns of the text there")
    label: str | None = Field(None, description="column of the label there")
    labels: dict[str, str | int] | None = Field(None, description="labels there, like `labels` of the entry")
    splits: dict[Name, str] = Field(default_factory=dict, description="our split name to the file's name")


class LabelMap(Strict):
    """How the prediction of a model with other labels is read in the labels of this set."""

    rule: MapRule = Field("argmax_then_merge", description="which of two readings; they can disagree on one row")
    to: dict[str, str] = Field(description="label of the model to label of this set")


class DatasetEntry(Strict):
    """One data set."""

    title: str = Field(description="full name, for lists and reports")
    task: str = Field(description="grouping word, for example nli or sentiment")
    kind: Kind = Field("classification", description="what the label is")
    hub: HubSource | None = None
    generated: GeneratedSource | None = None
    access: Literal["open", "gated", "form", "local"] = Field(
        "open",
        description="gated, form: consent or a form is asked for first; local: on no hub. Without access a study goes"
        " on without such a set, and its tables say so",
    )
    fields: Fields
    label: str | None = Field(None, description="source column of the label or score")
    labels: dict[str, str | int] = Field(
        default_factory=dict,
        description="label name to the name or raw value in the source; the order is kept",
    )
    range: tuple[float, float] | None = Field(None, description="lowest and highest score of a regression")
    unlabelled: list[str | int] = Field(default_factory=list, description="raw values that mean `no label`")
    out_of_scope: list[str | int] = Field(
        default_factory=list,
        description="label names or raw values of the source that mean `none of the labels`: real rows from outside the"
        " task, which go to the split that says `out_of_scope_of`",
    )
    splits: dict[Name, Split]
    local: LocalCopy | None = None
    maps: list[LabelMap] = Field(default_factory=list)
    roles: list[Literal["train", "id", "ood", "stress", "prior"]] = Field(
        default_factory=list, description="what the set is meant for"
    )
    licence: str = Field("not stated", description="its terms in words")
    licence_class: Literal["open", "non-commercial", "unspecified"] = Field(
        "unspecified", description="its terms in one word"
    )
    citation: str = Field("", description="whom to cite")
    notes: str = Field("", description="traps, and where facts come from")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hub and self.generated:
            raise ValueError("one source: either `hub` or `generated`, not both")
        if self.kind == "classification" and len(self.labels) < 2:
            raise ValueError("`labels` with at least two names for kind `classification`")
        if self.kind == "regression" and self.range is None:
            raise ValueError("`range: [low, high]` for kind `regression`")
        if self.kind != "text" and self.label is None:
            raise ValueError("`label`, the source column that holds the label")
        if not self.splits:
            raise ValueError("at least one split under `splits`")
        for name, split in self.splits.items():
            if split.out_of_scope_of is None:
                continue
            if split.out_of_scope_of not in self.splits or split.source or split.rows or split.local_rows:
                raise ValueError(
                    f"`splits.{name}` with `out_of_scope_of` alone, the name of another split of this entry"
                )
            if not self.out_of_scope:
                raise ValueError(f"values under `out_of_scope`, from which `splits.{name}` takes its rows")
        for mapping in self.maps:
            unknown = set(mapping.to.values()) - set(self.labels)
            if unknown:
                raise ValueError(f"`maps.to` that leads to labels of this set; {sorted(unknown)} are none")
        return self

    @property
    def outside(self) -> dict[str, str]:
        """Split to the split that its out-of-scope rows go to."""
        return {split.out_of_scope_of: name for name, split in self.splits.items() if split.out_of_scope_of}

    def map_from(self, labels: list[str]) -> LabelMap | None:
        """The map whose keys are exactly the model's `labels`, if the entry has one."""
        return next((item for item in self.maps if set(item.to) == set(labels)), None)
