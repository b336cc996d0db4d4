"""The type of a model entry (`config/models/*.yaml`)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from ftbench.config.dataset import Revision
from ftbench.config.strict import Name, Strict

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class HubModel(Strict):
    """A checkpoint of the Hugging Face hub at a pinned commit."""

    repository: str
    revision: Revision


class BuiltIn(Strict):
    """A tiny encoder that the graph itself pretrains by masked-language modelling."""

    corpus: Name = Field(description="data set of kind `text` to pretrain on")
    hidden_size: int = Field(64, gt=0)
    layers: int = Field(2, gt=0)
    heads: int = Field(4, gt=0)
    intermediate_size: int = Field(128, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    steps: int = Field(600, gt=0)
    batch_size: int = Field(64, gt=0)
    learning_rate: float = Field(2e-3, gt=0)
    mask_share: float = Field(0.15, gt=0, lt=1)
    max_length: int = Field(32, gt=0)
    seed: int = 0


class ModelEntry(Strict):
    """One pretrained model: exactly one of `hub`, `package`, `path`, `built_in`."""

    title: str = ""
    hub: HubModel | None = None
    package: str | None = Field(None, description="installed Python distribution that carries the model's files")
    folder: str | None = Field(None, description="folder of the files inside the package's install location")
    path: str | None = Field(None, description="local folder with config, tokenizer and safetensors")
    built_in: BuiltIn | None = None
    digest: Digest | None = Field(None, description="sha256 of model.safetensors; a differing file is refused")
    max_length: int = Field(512, gt=0, description="longest input the model takes, in tokens")
    licence: str = "not stated"
    notes: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("hub", "package", "path", "built_in") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of `hub`, `package`, `path`, `built_in`; {given or 'none'} given")
        if self.package and not self.folder:
            raise ValueError("`folder` beside `package`: where in the package the model lies")
        return self
