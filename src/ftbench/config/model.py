"""The type of a model entry (`config/models/*.yaml`)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from ftbench.config.dataset import Revision
from ftbench.config.strict import Name, Strict

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class HubModel(Strict):
    """A checkpoint of the Hugging Face hub at a pinned commit."""

    repository: str = Field(description="`owner/name` on the hub")
    revision: Revision = Field(description="full commit hash")


class BuiltIn(Strict):
    """A tiny encoder that the graph itself pretrains by masked-language modelling."""

    corpus: Name = Field(description="data set of kind `text` to pretrain on")
    hidden_size: int = Field(64, gt=0, description="width of the encoder")
    layers: int = Field(2, gt=0, description="blocks")
    heads: int = Field(4, gt=0, description="attention heads of a block")
    intermediate_size: int = Field(128, gt=0, description="width of the feed-forward layers")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the pretraining, kept in the model")
    steps: int = Field(600, gt=0, description="optimiser steps")
    batch_size: int = Field(64, gt=0, description="sentences of a step")
    learning_rate: float = Field(2e-3, gt=0, description="highest rate")
    mask_share: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are hidden")
    max_length: int = Field(32, gt=0, description="tokens kept of a sentence")
    seed: int = Field(0, description="seed of weights, order and masks")


class ModelEntry(Strict):
    """One pretrained model: exactly one of `hub`, `package`, `path`, `built_in`."""

    title: str = Field("", description="full name, for lists")
    hub: HubModel | None = None
    package: str | None = Field(None, description="installed Python distribution that carries the model's files")
    folder: str | None = Field(None, description="folder of the files inside the package's install location")
    path: str | None = Field(None, description="local folder with config, tokenizer and safetensors")
    built_in: BuiltIn | None = None
    digest: Digest | None = Field(None, description="sha256 of model.safetensors; a differing file is refused")
    max_length: int = Field(512, gt=0, description="longest input the model takes, in tokens")
    parameters: float | None = Field(
        None, gt=0, description="weights in millions, for the estimate of memory and time; null: as a base-size encoder"
    )
    licence: str = Field("not stated", description="its terms in words")
    notes: str = Field("", description="traps, and where facts come from")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("hub", "package", "path", "built_in") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of `hub`, `package`, `path`, `built_in`; {given or 'none'} given")
        if self.package and not self.folder:
            raise ValueError("`folder` beside `package`: where in the package the model lies")
        return self
