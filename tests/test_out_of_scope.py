"""Rows from outside the task: kept apart in the data, predicted, never scored against a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from configured import DATASETS, STUDY, changed, configured
from data_stages import audited, class_label, cut, fetched, prepared, rows
from pyarrow import parquet
from results_folder import score_outputs

from ftbench.check import study_problems
from ftbench.config.dataset import DatasetEntry
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.data.predicted import Rows, predicted
from ftbench.stages import audit, score
from ftbench.tables.store import read_table, write_table

OUTSIDE = {"out_of_scope": ["elsewhere"], "outside": {"test": "test_outside"}}


def with_outside(names: list[str]) -> pa.Table:
    """Nine rows whose labels take turns, as numbers that mean `names`."""
    plain = rows(9, (0, 1, 2))
    return class_label(plain, names)


@pytest.mark.parametrize("names", [["negative", "positive", "elsewhere"], ["elsewhere", "negative", "positive"]])
def test_out_of_scope_rows_go_to_a_split_of_their_own_by_the_name_of_their_label(
    tmp_path: Path, names: list[str]
) -> None:
    table = with_outside(names)
    folder = fetched(tmp_path, {"train": table, "test": table})
    found, card = prepared(folder, **OUTSIDE)
    outside = found.filter(pa.compute.equal(found.column("split"), "test_outside"))
    assert outside.column("text_a").to_pylist() == [
        text for text, label in zip(*(table.column(name).to_pylist() for name in ("sentence", "label")), strict=True)
        if names[label] == "elsewhere"
    ]  # fmt: skip
    assert outside.column("label").null_count == 3
    assert found.filter(pa.compute.not_equal(found.column("split"), "test_outside")).column("label").null_count == 0
    assert {name: split["rows"] for name, split in card["splits"].items()} == {"train": 6, "test": 6, "test_outside": 3}
    assert card["splits"]["train"]["dropped_unlabelled"] == 3  # no split asks for those of `train`
    assert len(set(found.column("uid").to_pylist())) == found.num_rows


def test_a_split_of_out_of_scope_rows_needs_the_values_and_a_split_to_take_them_from() -> None:
    entry = {
        "title": "t", "task": "t", "fields": {"text_a": "x"}, "label": "label", "labels": {"a": 0, "b": 1},
        "out_of_scope": [2], "splits": {"test": {}, "far": {"out_of_scope_of": "test"}},
    }  # fmt: skip
    assert DatasetEntry.model_validate(entry).outside == {"test": "far"}
    with pytest.raises(ValueError, match="values under `out_of_scope`"):
        DatasetEntry.model_validate({**entry, "out_of_scope": []})
    with pytest.raises(ValueError, match="the name of another split"):
        DatasetEntry.model_validate({**entry, "splits": {"far": {"out_of_scope_of": "test"}}})


def set_of(**changes: object) -> audit.SetSpec:
    given = {"dataset": "reviews", "split": "test", "role": "ood", "kind": "classification"}
    return audit.SetSpec.model_validate({**given, "labels": ["negative", "positive"], **changes})


def test_an_unlabelled_set_is_predicted_in_the_tasks_labels_and_has_no_score(tmp_path: Path) -> None:
    """Rows of a data set with other labels, two of them: no map, no gold label, no loss, no row in `metrics`."""
    folder = fetched(tmp_path, {"train": rows(200), "test": rows(20, text="other")})
    prepared(folder)
    cut(folder)
    sets = {"inside": set_of(role="id"), "outside": set_of(labelled=False)}
    evaluation, overlap, record = audited(folder, sets, {"reviews": folder / "prepared.parquet"})
    outside = evaluation.filter(pa.compute.equal(evaluation.column("eval_set"), "outside"))
    assert outside.num_rows == 20
    assert outside.column("label").null_count == 20
    assert record["sets"]["outside"]["labelled"] is False
    assert overlap["outside"]["conflict_rows"] is None

    labels = ["positive", "negative"]
    logits = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    tables = [
        predicted(
            "runs/a", Rows(name, role, part.column("uid").to_pylist(), part.column("label").to_pylist(), None),
            logits, "classification", labels, record["sets"][name],
        )
        for name, role in (("inside", "id"), ("outside", "ood"))
        for part in [evaluation.filter(pa.compute.equal(evaluation.column("eval_set"), name))]
    ]  # fmt: skip
    write_table("predictions", pa.concat_tables(tables), folder / "predictions.parquet", {"labels": labels})
    stored = read_table("predictions", folder / "predictions.parquet").to_pylist()
    far = [row for row in stored if row["eval_set"] == "outside"]
    assert {(row["gold"], row["loss"]) for row in far} == {(None, None)}
    assert [row["pred"] for row in far] == [labels[index] for index in logits.argmax(axis=1)]

    spec = score.Spec(artifact="runs/a", study="s", task="reviews", model="m", artifact_kind="run", resamples=10)
    inputs = {"predictions": folder / "predictions.parquet", "audit": folder / "audit.json"}
    score.run(spec, inputs, score_outputs(folder))
    for name in ("metrics", "calibration"):
        assert set(read_table(name, folder / f"{name}.parquet").column("eval_set").to_pylist()) == {"inside"}


def test_an_unlabelled_set_of_a_regression_has_values_and_no_gold(tmp_path: Path) -> None:
    about = {"labels": [], "map": None, "labelled": False}
    found = predicted(
        "runs/a", Rows("far", "ood", ["1", "2"], [None] * 2, None), np.ones((2, 1)), "regression", [], about
    )
    write_table("predictions", found, tmp_path / "predictions.parquet")
    stored = read_table("predictions", tmp_path / "predictions.parquet").to_pylist()
    assert [(row["pred_value"], row["gold_value"], row["loss"]) for row in stored] == [(1.0, None, None)] * 2


def problems(root: Path, study: dict[str, object]) -> str:
    configured(root, study)
    return "\n".join(study_problems(load_study("small", root), load_catalogue(root)))


def test_any_data_set_may_stand_for_the_outside_unless_it_is_called_labelled(tmp_path: Path) -> None:
    foreign = next(name for name, entry in DATASETS.items() if entry.get("kind") == "text")
    far = {"dataset": foreign, "split": "train", "role": "ood", "labelled": False}
    assert problems(tmp_path / "fine", changed(STUDY, "tasks.reviews.evaluate.far", far)) == ""
    told = problems(tmp_path / "wrong", changed(STUDY, "tasks.reviews.evaluate.far", {**far, "labelled": True}))
    assert "a text set" in told


def test_an_unlabelled_set_has_the_role_ood(tmp_path: Path) -> None:
    far = {"dataset": "reviews", "split": "test", "role": "id", "labelled": False}
    configured(tmp_path, changed(STUDY, "tasks.reviews.evaluate.far", far))
    with pytest.raises(FtbenchError, match="role: ood"):
        load_study("small", tmp_path)


def test_the_prepared_rows_of_a_mixed_split_serve_as_two_sets(tmp_path: Path) -> None:
    """One split with both kinds of rows: the task's become one set, those from outside another."""
    folder = fetched(tmp_path, {"train": rows(200), "test": rows(12, ("negative", "positive", "elsewhere"))})
    prepared(folder, **OUTSIDE)
    train, _, _ = cut(folder)
    assert train.column("label").null_count == 0
    sets = {"inside": set_of(role="id"), "outside": set_of(split="test_outside", labelled=False)}
    evaluation, _, _ = audited(folder, sets, {"reviews": folder / "prepared.parquet"})
    counts = {name: evaluation.column("eval_set").to_pylist().count(name) for name in sets}
    assert counts == {"inside": 8, "outside": 4}
    assert parquet.read_table(folder / "prepared.parquet").num_rows == 212
