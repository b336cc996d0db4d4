"""Stages `fetch` and `base` against a stand-in of the hub on the loopback address, at pinned revisions."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_stages import class_label, prepared, rows
from hub_server import Hub, serving
from pyarrow import parquet
from safetensors.numpy import save

SETS, MODEL, OTHER = "a1" * 20, "b2" * 20, "c3" * 20
CARD = b"""---
configs:
- config_name: plain
  data_files:
  - {split: train, path: plain/train-*}
  - {split: validation, path: plain/validation-*}
---
"""
WEIGHTS = save({"embeddings.weight": np.ones((4, 2), dtype=np.float32)})
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
CONFIG = json.dumps({"model_type": "bert", "hidden_size": 2}).encode()

# the libraries read the address at import, so the stages run in a process of their own, one after the other
DRIVER = """
import json, sys
from ftbench.stage import main
for name, arguments in json.loads(sys.argv[1]).items():
    print("case", name, flush=True)
    print("status", main(arguments), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How one stage ended: exit status, what it printed, and where its outputs would be."""

    status: int
    log: str
    folder: Path
    requests: list[str]

    @property
    def reason(self) -> str:
        """The reason that the failure record holds."""
        (file,) = (self.folder / "work" / "failures").glob("*.json")
        return str(json.loads(file.read_text())["reason"])


def run_stages(
    hub: Hub, folder: Path, stage: str, outputs: list[str], specs: dict[str, Any], more: dict[str, str] | None = None
) -> dict[str, Ended]:
    """Run a stage once for each spec, in one process that takes `hub` for the hub; `more` goes into its environment."""
    cases = {}
    for name, spec in specs.items():
        words = [stage, "--cell", name, "--work", str(folder / name / "work"), "--spec", json.dumps(spec), "--outputs"]
        cases[name] = words + [f"{output.partition('.')[0]}={folder / name / output}" for output in outputs]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "FTBENCH_"))}
    environment |= {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "NO_PROXY": "127.0.0.1",
        **(more or {}),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(cases)],
        capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ended = {}
    for part in done.stdout.split("case ")[1:]:
        name, _, log = part.partition("\n")
        text, _, status = log.rpartition("status ")
        ended[name] = Ended(int(status), text, folder / name, hub.requests)
    return ended


def parquet_bytes(table: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def tokenizer_json() -> bytes:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])}
    return Tokenizer(WordLevel(words, unk_token="[UNK]")).to_str().encode()


# fetch


def fetch_spec(**changes: Any) -> dict[str, Any]:
    source = {"repository": "owner/sets", "revision": SETS, "config": "plain", **changes.pop("hub", {})}
    content = {"dataset": "reviews", "splits": {"train": "train", "dev": "validation"}, "label": "label"}
    return {**content, "hub": source, "fields": {"text_a": "sentence"}, **changes}


@pytest.fixture(scope="module")
def fetches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    files = {"README.md": CARD}
    for name, text in (("train", "text number"), ("validation", "other")):
        table = class_label(rows(10, [0, 1], text), ["positive", "negative"])
        files[f"plain/{name}-0.parquet"] = parquet_bytes(table)

    specs = {
        "good": fetch_spec(),
        "unknown": fetch_spec(hub={"repository": "owner/absent"}),
        "revision": fetch_spec(hub={"revision": OTHER}),
        "split": fetch_spec(splits={"train": "trian"}),
        "config": fetch_spec(hub={"config": "fancy"}),
        "column": fetch_spec(fields={"text_a": "sentense"}),
        "branch": fetch_spec(hub={"revision": "main"}),
    }
    with serving() as hub:
        hub.add("datasets", "owner/sets", SETS, files)
        folder = tmp_path_factory.mktemp("fetch")
        yield run_stages(hub, folder, "fetch", ["fetched.parquet", "record.json"], specs)


def test_rows_come_from_the_hub_with_the_label_names_that_it_gives(fetches: dict[str, Ended]) -> None:
    good = fetches["good"]
    assert good.status == 0, good.log
    table = parquet.read_table(good.folder / "fetched.parquet")
    record = json.loads((good.folder / "record.json").read_text())
    assert sorted(set(table.column("split").to_pylist())) == ["dev", "train"]
    assert record["rows"] == {"train": 10, "dev": 10}
    assert (record["origin"], record["repository"], record["revision"]) == ("hub", "owner/sets", SETS)
    assert record["label_names"] == ["positive", "negative"]
    (good.folder / "record.json").rename(good.folder / "fetched.json")
    found, card = prepared(good.folder, rows={"train": [10]})
    assert (
        dict(zip(found.column("text_a").to_pylist(), found.column("label").to_pylist(), strict=True))["text number 0"]
        == "positive"
    )
    assert card["revision"] == SETS


def test_only_pinned_revisions_are_asked_for(fetches: dict[str, Ended]) -> None:
    asked = [request for request in fetches["good"].requests if "/owner/sets" in request]
    assert asked
    assert all(f"/{SETS}" in request or f"/{OTHER}" in request for request in asked), asked
    downloaded = [request for request in asked if request.startswith("GET") and request.endswith(".parquet")]
    assert sorted(downloaded) == [
        f"GET /datasets/owner/sets/resolve/{SETS}/plain/{name}-0.parquet" for name in ("train", "validation")
    ]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("unknown", ["owner/absent@a1a1a1a1a1 split train", "could not be loaded from the hub", "`data_root`"]),
        ("revision", ["owner/sets@c3c3c3c3c3", "could not be loaded from the hub"]),
        ("split", ["split trian", "could not be loaded from the hub"]),
        ("config", ["fancy", "plain"]),
        ("column", ["found no column `sentense`", "Did you mean `sentence`?"]),
        ("branch", ["key `hub.revision`", "'main'"]),
    ],
)
def test_what_is_not_on_the_hub_is_told_in_words_and_leaves_no_output(
    fetches: dict[str, Ended], case: str, expected: list[str]
) -> None:
    ended = fetches[case]
    assert ended.status == 1
    assert "Traceback" not in ended.log
    for part in expected:
        assert part in ended.reason
    assert [file.name for file in ended.folder.iterdir()] == ["work"]


# base


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    tokenizer = {
        "tokenizer.json": tokenizer_json(),
        "tokenizer_config.json": b'{"tokenizer_class": "TokenizersBackend"}',
    }
    pickled = {"pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit"}
    weights = {"model.safetensors": WEIGHTS, "onnx/model.safetensors": b"another", "onnx/config.json": b"{}"}
    config = {"config.json": CONFIG}
    specs = {
        name: {"model": "tiny", "hub": {"repository": f"owner/{name}", "revision": MODEL}, "digest": DIGEST}
        for name in ("good", "tokenless", "pickled", "configless", "absent", "changed", "revision")
    }
    specs["revision"]["hub"]["revision"] = OTHER
    with serving() as hub:
        hub.add("models", "owner/good", MODEL, config | tokenizer | weights | pickled)
        hub.add("models", "owner/revision", MODEL, config | tokenizer | weights)
        hub.add("models", "owner/tokenless", MODEL, config | weights)
        hub.add("models", "owner/pickled", MODEL, config | tokenizer | pickled)
        hub.add("models", "owner/configless", MODEL, tokenizer | weights)
        changed = save({"embeddings.weight": np.zeros((4, 2), dtype=np.float32)})
        hub.add("models", "owner/changed", MODEL, config | tokenizer | {"model.safetensors": changed})
        yield run_stages(hub, tmp_path_factory.mktemp("base"), "base", ["snapshot", "record.json"], specs)


def test_a_model_comes_from_the_hub_without_pickled_weights_code_or_subfolders(bases: dict[str, Ended]) -> None:
    good = bases["good"]
    assert good.status == 0, good.log
    kept = {file.name for file in (good.folder / "snapshot").iterdir()}
    assert kept == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}
    assert (good.folder / "snapshot" / "model.safetensors").read_bytes() == WEIGHTS
    record = json.loads((good.folder / "record.json").read_text())
    assert (record["repository"], record["revision"], record["digest"]) == ("owner/good", MODEL, DIGEST)
    asked = [request for request in good.requests if "/owner/good" in request]
    assert not [request for request in asked if "pytorch_model" in request or ".py" in request or "onnx" in request]
    assert all(f"/{MODEL}" in request for request in asked), asked


def test_the_snapshot_is_a_copy_that_the_cache_of_the_hub_does_not_hold(bases: dict[str, Ended]) -> None:
    files = list((bases["good"].folder / "snapshot").iterdir())
    assert not [file for file in files if file.is_symlink()]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("absent", ["model tiny", "could not be loaded from the hub", "`path`"]),
        ("revision", ["model tiny", "could not be loaded from the hub"]),
        ("tokenless", ["found no tokenizer", "tokenizer.json"]),
        ("pickled", ["found no safetensors weights", "pickled weights are never read"]),
        ("configless", ["found no config.json"]),
        ("changed", ["key `digest`", f"expected {DIGEST}"]),
    ],
)
def test_a_model_that_is_not_what_the_entry_means_is_refused_and_leaves_no_output(
    bases: dict[str, Ended], case: str, expected: list[str]
) -> None:
    ended = bases[case]
    assert ended.status == 1
    assert "Traceback" not in ended.log
    for part in expected:
        assert part in ended.reason
    assert [file.name for file in ended.folder.iterdir()] == ["work"]


# without network


def again_offline(ended: Ended, stage: str, outputs: list[str], spec: dict[str, Any], folder: Path) -> Ended:
    """Run a stage once more, with the cache of an earlier run and the network switched off."""
    hub = Hub()
    home = ended.folder.parent / "home"
    return run_stages(hub, folder, stage, outputs, {"again": spec}, {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"})[
        "again"
    ]


def test_a_filled_cache_stands_in_for_the_hub(
    fetches: dict[str, Ended], bases: dict[str, Ended], tmp_path: Path
) -> None:
    hub = {"repository": "owner/good", "revision": MODEL}
    model = again_offline(bases["good"], "base", ["snapshot", "record.json"], {"model": "tiny", "hub": hub}, tmp_path)
    assert model.status == 0, model.log
    outputs = ["fetched.parquet", "record.json"]
    rows_again = again_offline(fetches["good"], "fetch", outputs, fetch_spec(), tmp_path / "rows")
    assert rows_again.status == 0, rows_again.log
    one, other = (parquet.read_table(ended.folder / "fetched.parquet") for ended in (fetches["good"], rows_again))
    assert one.equals(other)


def test_an_empty_cache_without_network_is_told_in_words(tmp_path: Path) -> None:
    spec = {"model": "tiny", "hub": {"repository": "owner/good", "revision": MODEL}}
    settings = {"HF_HUB_OFFLINE": "1"}
    ended = run_stages(Hub(), tmp_path, "base", ["snapshot", "record.json"], {"down": spec}, settings)["down"]
    assert ended.status == 1
    assert "could not be loaded from the hub" in ended.reason
    assert "Check the network" in ended.reason
