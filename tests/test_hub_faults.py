"""The hub when it is slow, breaks off, refuses for a while or for good, or sends something else than it should.

What passes is waited for; what does not is an error in words. A set that is there is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import Fault, serving
from project import Project
from pyarrow import parquet
from safetensors.numpy import save
from test_hub import (
    CARD,
    CONFIG,
    MODEL,
    SETS,
    Ended,
    class_label,
    fetch_spec,
    parquet_bytes,
    rows,
    run_stages,
    tokenizer_json,
)

from ftbench.data import patience

FILE = "plain/train-0.parquet"
FORGED = "model.safetensors"
# name of the repository to what happens; `times` beyond every patience means for good
PASSING = {
    "slow": [Fault(FILE, seconds=2.0)],
    "cut": [Fault(FILE, times=2, cut=200)],
    "busy": [Fault(FILE, times=7, status=429, headers={"Retry-After": "1"})],
    "broken": [Fault(FILE, times=3, status=503)],
}
FINAL = {
    "gated": [Fault("", times=99, method=method, status=403, headers={"X-Error-Code": "GatedRepo"})
              for method in ("GET", "HEAD", "POST")],
    "gone": [Fault("", times=99, method=method, status=404, headers={"X-Error-Code": "RepoNotFound"})
             for method in ("GET", "HEAD", "POST")],
}  # fmt: skip


def for_repository(name: str, faults: list[Fault]) -> list[Fault]:
    """The faults for the files of one repository; without a file they meet every request for it."""
    found = []
    for fault in faults:
        part = f"owner/{name}/resolve/{SETS}/{fault.part}" if fault.part else f"owner/{name}"
        found.append(Fault(**{**fault.__dict__, "part": part}))
    return found


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    table = class_label(rows(400, [0, 1], "text number"), ["positive", "negative"])
    files = {
        "README.md": CARD.replace(b"  - {split: validation, path: plain/validation-*}\n", b""),
        FILE: parquet_bytes(table),
    }
    folder = tmp_path_factory.mktemp("faults")
    with serving() as hub:
        specs: dict[str, Any] = {}
        for name, faults in {**PASSING, **FINAL}.items():
            hub.add("datasets", f"owner/{name}", SETS, files)
            hub.faults += for_repository(name, faults)
            specs[name] = fetch_spec(hub={"repository": f"owner/{name}"}, splits={"train": "train"})
        yield run_stages(
            hub,
            folder,
            "fetch",
            ["fetched.parquet", "record.json"],
            specs,
            {patience.VARIABLE: "0.2", "HF_HUB_DOWNLOAD_TIMEOUT": "5"},
        )


@pytest.mark.parametrize("case", PASSING)
def test_what_passes_is_waited_for_and_the_set_is_whole(ended: dict[str, Ended], case: str) -> None:
    found = ended[case]
    assert found.status == 0, found.log
    table = parquet.read_table(found.folder / "fetched.parquet")
    assert table.column("text_a").to_pylist() == [f"text number {row}" for row in range(400)]
    assert json.loads((found.folder / "record.json").read_text())["rows"] == {"train": 400}


@pytest.mark.parametrize(
    ("case", "expected"),
    [("gated", ["It is gated", "hf auth login"]), ("gone", ["could not be loaded", "`data_root`"])],
)
def test_what_stays_is_told_at_once_and_leaves_no_set(ended: dict[str, Ended], case: str, expected: list[str]) -> None:
    found = ended[case]
    assert found.status == 1
    assert "Traceback" not in found.log
    assert "again in" not in found.log
    for part in expected:
        assert part in found.reason
    assert [file.name for file in found.folder.iterdir()] == ["work"]


def test_weights_that_are_not_what_their_digest_says_are_refused(tmp_path: Path) -> None:
    weights = save({"embeddings.weight": np.ones((4, 2), dtype=np.float32)})
    files = {"config.json": CONFIG, "tokenizer.json": tokenizer_json(), FORGED: weights,
             "tokenizer_config.json": b'{"tokenizer_class": "TokenizersBackend"}'}  # fmt: skip
    with serving() as hub:
        hub.add("models", "owner/forged", MODEL, files)
        hub.faults.append(Fault(FORGED, times=9, body=weights[:-1] + b"\0"))
        spec = {"model": "tiny", "hub": {"repository": "owner/forged", "revision": MODEL}}
        found = run_stages(hub, tmp_path, "base", ["snapshot", "record.json"], {"forged": spec})["forged"]
    assert found.status == 1
    assert f"found {FORGED} in the hub's cache with another content" in found.reason
    assert not (found.folder / "record.json").exists()


class Answer(Exception):
    """An error with the server's answer, as the hub's library raises them."""

    def __init__(self, status: int, **headers: str) -> None:
        self.response = type(
            "Response", (), {"status_code": status, "headers": {k.replace("_", "-"): v for k, v in headers.items()}}
        )()


def test_pauses_grow_and_follow_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", waited.append)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(patience.VARIABLE, "2")
    answers = iter([Answer(503), Answer(429, Retry_After="40"), Answer(500)])

    def load() -> str:
        for error in answers:
            raise error
        return "rows"

    assert patience.patiently(load, lambda _: None) == "rows"
    assert waited == [2, 40, 18]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(status: int) -> None:
    tries: list[int] = []

    def load() -> None:
        tries.append(1)
        raise Answer(status)

    with pytest.raises(Answer) as caught:
        patience.patiently(load)
    assert len(tries) == 1
    assert patience.words(caught.value)


def test_every_stage_after_fetching_runs_with_the_network_cut(project: Project) -> None:
    cut = ["unshare", "--net"]
    if os.geteuid() != 0 or subprocess.run([*cut, "true"], check=False, capture_output=True).returncode:
        pytest.skip("the network cannot be cut here: that needs root and namespaces")
    for place in ("runs/reviews/smoke_encoder/vanilla/default/s0", "prior", "soups", "predictions/soups", "tables"):
        shutil.rmtree(project.results / place)
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    tried = subprocess.run([*cut, sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert "unreachable" in tried.stderr
    done = subprocess.run(
        [*cut, *project.command("snakemake", "--cores", "2", "--config", "study=smoke", "--rerun-triggers", "code")],
        cwd=project.folder, env=project.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {rule for rule, _ in re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.M)}
    assert {"upstream", "pretrain_samples", "finetune", "soup", "predict", "score", "report"} <= ran
    assert project.stale() == {}
