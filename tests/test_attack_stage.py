"""Stage `attack` on a real small model: the same whatever the batches, counted honestly, and resumed to the byte."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_stages import NAMES
from pyarrow import parquet
from small_bench import finetuned, make_bench

from ftbench.attacking.contract import Subject
from ftbench.attacking.engine import attacked
from ftbench.attacking.victim import ModelVictim
from ftbench.attacks.deep_word_bug import DeepWordBug
from ftbench.outputs import Stopped
from ftbench.stage import execute
from ftbench.tables.store import read_table

LABELS = list(NAMES)
SHARED = {"labels": LABELS, "max_length": 8, "sets": ["test"], "rows": None, "seed": 0, "artifact": "runs/x"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_bench(tmp_path_factory.mktemp("bench"))
    finetuned(folder, folder / "run", "vanilla")
    return folder


def attack(bench: Path, out: Path, work: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Run the stage; gives its record."""
    config = DeepWordBug.Config(stop_words="none", **changes.pop("settings", {})).model_dump(mode="json")
    spec = {**SHARED, "attack": "bugs", "use": "deep_word_bug", "config": config, **changes}
    names = {"evaluation": "evaluation.parquet", "base": "base.json", "start": "start.safetensors"}
    inputs = {key: bench / name for key, name in names.items()}
    inputs |= {"record": bench / "run" / "run.json", "model": bench / "run" / "model.safetensors"}
    outputs = {"attacks": out / "attacks.parquet", "record": out / "attack.json"}
    execute("attack", spec, inputs, outputs, work or out / ".work", "source")
    content: dict[str, Any] = json.loads(outputs["record"].read_text())
    return content


def victim(bench: Path) -> ModelVictim:
    import torch

    from ftbench.training.artifact import Artifact
    from ftbench.training.models import load_tokenizer

    tokenizer = load_tokenizer(bench / "snapshot")
    inputs = {"base": bench / "base.json", "record": bench / "run/run.json", "model": bench / "run/model.safetensors"}
    model = Artifact.of({**inputs, "start": bench / "start.safetensors"}).model(LABELS, "classification", 0)
    return ModelVictim(model, tokenizer, 8, torch.device("cpu"))


def subjects(bench: Path) -> list[Subject]:
    rows = [row for row in parquet.read_table(bench / "evaluation.parquet").to_pylist() if row["eval_set"] == "test"]
    return [Subject(row["uid"], row["text_a"], row["text_b"], LABELS.index(row["label"])) for row in rows]


def test_shards_and_groups_change_nothing_and_queries_are_what_the_model_was_asked(bench: Path, tmp_path: Path) -> None:
    whole = attack(bench, tmp_path / "whole")
    rows = read_table("attacks", tmp_path / "whole" / "attacks.parquet").to_pylist()
    assert whole["rows"] == len(rows) == 20
    # one example at a time, counted by the model itself
    again = victim(bench)
    settings = DeepWordBug(DeepWordBug.Config(stop_words="none"))
    for row, subject in zip(rows, subjects(bench), strict=True):
        before = again.rows
        ((outcome,),) = attacked(settings, [subject], again, seed=0, together=1)
        assert (outcome.uid, outcome.status, outcome.text_after) == (row["uid"], row["status"], row["text_after"])
        assert outcome.queries == row["queries"] == again.rows - before
        assert outcome.p_true_after == pytest.approx(row["p_true_after"], abs=1e-5)
    parts = []
    for shard in range(3):
        attack(bench, tmp_path / str(shard), shard=shard, shards=3)
        parts += read_table("attacks", tmp_path / str(shard) / "attacks.parquet").to_pylist()
    approximate = ("p_true_before", "p_true_after")
    exact = {row["uid"]: {key: value for key, value in row.items() if key not in approximate} for row in parts}
    assert exact == {row["uid"]: {key: value for key, value in row.items() if key not in approximate} for row in rows}
    other = read_table("attacks", _seeded(bench, tmp_path)).to_pylist()
    assert [row["uid"] for row in other] == [row["uid"] for row in rows]
    assert [row["text_after"] for row in other] != [row["text_after"] for row in rows]


def _seeded(bench: Path, tmp_path: Path) -> Path:
    attack(bench, tmp_path / "seeded", seed=1)
    return tmp_path / "seeded" / "attacks.parquet"


def test_a_stopped_attack_goes_on_behind_its_last_group_and_ends_with_the_same_bytes(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attack(bench, tmp_path / "whole")
    from ftbench.stages import attack as stage

    keep = stage._keep

    def stop(file: Path, group: Any) -> None:
        keep(file, group)
        assert threading.current_thread() is threading.main_thread()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(stage, "_keep", stop)
    for _ in range(2):
        with pytest.raises(Stopped):
            attack(bench, tmp_path / "stopped")
        assert not (tmp_path / "stopped" / "attacks.parquet").exists()
    monkeypatch.setattr(stage, "_keep", keep)
    capsys.readouterr()
    attack(bench, tmp_path / "stopped")
    assert "20 examples, 16 of them attacked before" in capsys.readouterr().out
    same = [(tmp_path / name / "attacks.parquet").read_bytes() for name in ("whole", "stopped")]
    assert same[0] == same[1]
    assert not [*(tmp_path / "stopped" / ".work").glob("*/groups-*")]


def test_a_model_takes_an_empty_text_one_word_and_more_words_than_it_can_read(bench: Path) -> None:
    asked = victim(bench)
    texts = ["", "word", " ".join(["number", "text", "row"] * 10)]
    predictions = [
        int(answer.argmax()) for answer in asked.probabilities(asked.inputs([(text, None) for text in texts]))
    ]
    attack_ = DeepWordBug(DeepWordBug.Config(stop_words="none"))
    given = [
        Subject(str(number), text, None, gold)
        for number, (text, gold) in enumerate(zip(texts, predictions, strict=True))
    ]
    (outcomes,) = attacked(attack_, given, asked, seed=0)
    assert [outcome.n_words for outcome in outcomes] == [0, 1, 30]
    # this tokenizer adds no token of its own: nothing is left of an empty text, and there is no answer to nothing
    assert [outcome.status == "error" for outcome in outcomes] == [True, False, False]
    # words behind the part that the model reads are the same input: they cost nothing
    assert outcomes[2].queries <= 1 + 6 + 6 * 4 + 4
    assert all(np.isfinite(outcome.p_true_after or np.nan) for outcome in outcomes[1:])


def test_an_artifact_without_weights_has_no_attacked_rows(bench: Path, tmp_path: Path) -> None:
    failed = tmp_path / "bench"
    failed.mkdir()
    for file in bench.iterdir():
        (failed / file.name).symlink_to(file)
    (failed / "run").unlink()
    (failed / "run").mkdir()
    (failed / "run" / "run.json").write_text(json.dumps({"status": "failed"}))
    (failed / "run" / "model.safetensors").write_bytes(b"")
    assert attack(failed, tmp_path / "out")["rows"] == 0
