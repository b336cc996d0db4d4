"""Rows of evaluation sets that stand or nearly stand in the training rows: found all, counted, and scored without."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from results_folder import Folder, score_outputs, small_study

from ftbench import matrix
from ftbench.data.near_duplicates import THRESHOLD, near_duplicates, normal_texts
from ftbench.data.overlap import EvaluationRows, overlap
from ftbench.tables.store import read_table, write_table

WORDS = ["".join(random.Random(number).choices("abcdefghij", k=6)) for number in range(60)]


def sentences(count: int, seed: int) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(3, 14))) for _ in range(count)]


def edited(text: str, drawn: random.Random, edits: int) -> str:
    letters = list(text)
    for _ in range(edits):
        letters[drawn.randrange(len(letters))] = drawn.choice("xyz")
    return "".join(letters)


def by_hand(one: str, other: str) -> float:
    """Jaccard similarity of runs of five characters, written out anew."""
    first, second = ({text[place : place + 5] for place in range(len(text) - 4)} for text in (one, other))
    return len(first & second) / len(first | second)


def test_near_rows_are_exactly_those_that_a_comparison_of_all_pairs_finds() -> None:
    drawn = random.Random(7)
    train = sentences(150, 1)
    rows = [edited(text, drawn, edits) for edits in range(6) for text in train[:40]] + sentences(60, 2)
    expected = {}
    for row, text in enumerate(rows):
        values = [by_hand(text, other) for other in train]
        near = [number for number, value in enumerate(values) if value >= THRESHOLD]
        if near:
            expected[row] = (near[0], values[near[0]])
    found = near_duplicates(normal_texts(train, [None] * 150), normal_texts(rows, [None] * len(rows)))
    assert {one.row: (one.train_row, pytest.approx(one.similarity)) for one in found} == expected
    assert 60 < len(expected) < len(rows) - 60  # the edits cross the threshold on both sides


def test_of_a_pair_both_texts_have_to_be_near_and_a_pair_is_never_near_to_a_text() -> None:
    premise, hypothesis = sentences(2, 3)
    long = " ".join(sentences(8, 4))
    train = normal_texts([long, premise], [hypothesis, hypothesis])
    rows = normal_texts(
        [long, long + "!", edited(long, random.Random(1), 1), long],
        [sentences(1, 5)[0], hypothesis.upper(), hypothesis, None],
    )
    assert [(one.row, one.train_row) for one in near_duplicates(train, rows)] == [(1, 0), (2, 0)]


def test_short_and_empty_texts_are_compared_whole() -> None:
    rows = normal_texts(["no", "No!", "yes", ""], [None] * 4)
    assert [one.row for one in near_duplicates(normal_texts(["no", ""], [None] * 2), rows)] == [0, 1, 3]


def table(texts: list[str], second: list[str | None] | None = None, labels: list[str] | None = None) -> pa.Table:
    count = len(texts)
    return pa.table(
        {
            "uid": [f"u{number}" for number in range(count)],
            "text_a": texts,
            "text_b": pa.array(second or [None] * count, pa.string()),
            "label": labels or ["no"] * count,
        }
    )


ABOUT = {"role": "ood", "kind": "classification", "map": None}


def test_exact_near_and_conflicting_rows_are_counted_and_listed_with_what_they_repeat(tmp_path: Path) -> None:
    train = sentences(30, 8)
    changed = edited(train[4] + " " + train[5], random.Random(2), 1)
    train[6] = train[4] + " " + train[5]
    rows = [train[3].upper(), changed, *sentences(7, 9), train[2]]
    item = EvaluationRows("far", table(rows, labels=["yes"] + 9 * ["no"]), ABOUT)
    counts, listed = overlap("reviews", table(train), [item], None, print)
    write_table("overlap", counts, tmp_path / "overlap.parquet")
    write_table("duplicates", listed, tmp_path / "duplicates.parquet")
    (found,) = read_table("overlap", tmp_path / "overlap.parquet").to_pylist()
    assert (found["exact_rows"], found["near_rows"], found["near_share"], found["conflict_rows"]) == (2, 3, 0.3, 1)
    assert (found["train_rows"], found["eval_rows"], found["first_text_rows"]) == (30, 10, None)
    assert "5-character" in found["near_rule"]
    assert [(row["uid"], row["kind"], row["train_uid"]) for row in listed] == [
        ("u0", "exact", "u3"), ("u1", "near", "u6"), ("u9", "exact", "u2"),
    ]  # fmt: skip
    assert listed[1]["similarity"] == pytest.approx(by_hand(changed, train[6]))


def test_shared_premises_are_counted_apart_because_they_are_no_duplicates() -> None:
    premises, hypotheses = sentences(6, 10), sentences(12, 11)
    train = table(premises, list(hypotheses[:6]))
    item = EvaluationRows("far", table([*premises[:4], *sentences(2, 12)], list(hypotheses[6:])), ABOUT)
    (found,), listed = overlap("nli", train, [item], None, print)
    assert (found["near_rows"], found["first_text_rows"], listed) == (0, 4, [])


def test_progress_of_large_training_sets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftbench.data.near_duplicates._TOLD_EVERY", 10)
    told: list[str] = []
    near_duplicates(normal_texts(sentences(25, 1), [None] * 25), normal_texts(sentences(2, 2), [None] * 2), told.append)
    assert told == [f"near-duplicates: {done} of 25 training rows passed, 0 found" for done in (10, 20)]


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Folder, str]:
    folder = Folder(tmp_path, small_study(seeds=[0], methods={"plain": None}, soups={}))
    folder.fill()
    return folder, matrix.Run("reviews", "tiny", "plain", "default", 0).artifact


def again(folder: Folder, artifact: str, repeated: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    duplicates = folder.places.path("duplicates", task="reviews")
    rows = [
        {"task": "reviews", "eval_set": name, "uid": uid, "kind": "near", "train_uid": "t", "similarity": 0.9}
        for name, uid in repeated
    ]
    write_table("duplicates", rows, duplicates)
    inputs = {
        "predictions": folder.places.path("predictions", artifact=artifact),
        "audit": folder.places.path("audit", task="reviews"),
        "duplicates": duplicates,
    }
    spec = {"artifact": artifact, "study": "demo", "task": "reviews", "model": "tiny", "artifact_kind": "run",
            "method": "plain", "variant": "default", "seed": 0, "resamples": 0}  # fmt: skip
    folder.stage("score", spec, inputs, score_outputs(folder.root))
    found = read_table("metrics", folder.root / "metrics.parquet").to_pylist()
    return {(row["eval_set"], row["metric"]): row for row in found}


def test_scores_without_duplicates_come_from_the_same_predictions(scored: tuple[Folder, str]) -> None:
    folder, artifact = scored
    repeated = [("far", f"far{number}") for number in range(0, 200, 3)] + [("test", f"test{n}") for n in range(200)]
    found = again(folder, artifact, repeated)
    stored = parquet.read_table(folder.places.path("predictions", artifact=artifact)).to_pylist()
    kept = [row for row in stored if row["eval_set"] == "far" and int(row["uid"][3:]) % 3]
    right = np.mean([row["gold"] == row["pred"] for row in kept])
    far = found["far", "accuracy"]
    assert (far["n"], far["n_distinct"], far["value_distinct"]) == (200, len(kept), pytest.approx(right))
    assert far["value"] != far["value_distinct"]
    untouched, gone = found["farther", "nll"], found["test", "accuracy"]
    assert (untouched["value_distinct"], untouched["n_distinct"]) == (untouched["value"], 200)
    assert (gone["value_distinct"], gone["n_distinct"], gone["n"]) == (None, 0, 200)


def test_scores_of_version_2_are_read_without_what_was_not_known(scored: tuple[Folder, str], tmp_path: Path) -> None:
    folder, artifact = scored
    again(folder, artifact, [])
    old = parquet.read_table(folder.root / "metrics.parquet").drop_columns(["value_distinct", "n_distinct"])
    header = {b"ftbench": b'{"schema_version": 2, "table": "metrics"}'}
    parquet.write_table(old.replace_schema_metadata(header), tmp_path / "old.parquet")
    found = read_table("metrics", tmp_path / "old.parquet")
    assert found.num_rows == old.num_rows
    assert found.column("value_distinct").null_count == found.num_rows
