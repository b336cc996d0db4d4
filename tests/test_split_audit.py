"""Stages `split` and `audit`: who trains, who selects, who is evaluated, and what they have in common."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from data_stages import NAMES, audited, cut, fetched, prepared, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftbench.config.dataset import LabelMap
from ftbench.config.errors import FtbenchError
from ftbench.data.sampling import stratified, text_hash
from ftbench.stages.audit import SetSpec
from ftbench.stages.split import select_rows
from ftbench.training.seeds import numpy_generator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prepared data set: 200 training rows (3 of 4 negative), a test and a validation split."""
    train = rows(200, ["negative", "negative", "negative", "positive"])
    tables = {"train": train, "test": rows(40, text="test"), "validation": rows(30, text="validation")}
    prepared(fetched(tmp_path, tables))
    return tmp_path


def texts(table: pa.Table) -> list[str]:
    return [str(text) for text in table.column("text_a").to_pylist()]


def hashes(table: pa.Table) -> set[str]:
    return {text_hash(text) for text in texts(table)}


# split


def test_the_cut_takes_each_row_to_one_side_and_keeps_the_shares_of_the_labels(folder: Path) -> None:
    train, select, record = cut(folder, select={"rows": 40})
    assert (train.num_rows, select.num_rows) == (160, 40) == (record["train_rows"], record["select_rows"])
    assert not set(train.column("uid").to_pylist()) & set(select.column("uid").to_pylist())
    assert set(texts(train)) | set(texts(select)) == {f"text number {row}" for row in range(200)}
    assert Counter(select.column("label").to_pylist()) == {"negative": 30, "positive": 10}
    assert record["label_counts"] == {"negative": 120, "positive": 40}
    assert record["labels"] == list(NAMES)
    assert train.schema.names == ["uid", "text_a", "text_b", "label", "value", "aux"]


@pytest.mark.parametrize(("total", "expected"), [(100, 10), (4000, 400), (5000, 500), (20000, 500), (100000, 2000)])
def test_the_default_cut_is_500_rows_but_within_2_and_10_percent(total: int, expected: int) -> None:
    assert select_rows(total) == expected


def test_the_cut_is_the_same_every_time_and_moves_neither_with_the_subset_nor_with_the_metric(folder: Path) -> None:
    cut(folder, select={"rows": 40})
    digest = hashlib.sha256((folder / "select.parquet").read_bytes()).hexdigest()
    for changes in ({}, {"train": {"rows": 50}}, {"select_metric": "f1"}):
        train, _, _ = cut(folder, select={"rows": 40}, **changes)
        assert hashlib.sha256((folder / "select.parquet").read_bytes()).hexdigest() == digest
        assert train.num_rows == (50 if changes.get("train") else 160)


def test_a_fixed_subset_is_stratified_and_one_per_seed_is_left_to_the_run(folder: Path) -> None:
    train, _, _ = cut(folder, {"rows": 40}, {"rows": 40})
    assert Counter(train.column("label").to_pylist()) == {"negative": 30, "positive": 10}
    train, _, _ = cut(folder, {"rows": 40, "subset": "per_seed"}, {"rows": 40})
    assert train.num_rows == 160


def test_rows_that_a_run_draws_are_stratified_and_part_of_those_of_a_larger_number(folder: Path) -> None:
    train, _, _ = cut(folder, select={"rows": 40})
    strata = train.column("label").to_pylist()
    for seed in range(3):
        drawn = {size: stratified(strata, size, numpy_generator(seed, "data")) for size in (8, 40, 41, 120, 160)}
        for size, larger in itertools.pairwise(drawn):
            assert set(drawn[size]) <= set(drawn[larger])
            assert Counter(strata[row] for row in drawn[size])["positive"] in (size // 4, size // 4 + 1)
    assert set(stratified(strata, 40, numpy_generator(0, "data"))) != set(drawn[40])


def test_a_subset_of_more_rows_than_there_are_is_refused(folder: Path) -> None:
    for subset in ("fixed", "per_seed"):
        with pytest.raises(FtbenchError, match=r"found 160 .*`train\.rows` asks for 161"):
            cut(folder, {"rows": 161, "subset": subset}, {"rows": 40})
    assert cut(folder, {"rows": 160}, {"rows": 40})[0].num_rows == 160


@pytest.mark.parametrize("wanted", [1, 101, 1000])
def test_a_split_too_small_for_the_cut_is_refused_with_what_to_do(folder: Path, wanted: int) -> None:
    with pytest.raises(FtbenchError, match=r"found 200 rows.*cut \d+ selection rows.*`select\.rows`.*`select\.split`"):
        cut(folder, select={"rows": wanted})


def test_a_default_cut_of_a_tiny_split_is_refused(tmp_path: Path) -> None:
    prepared(fetched(tmp_path, {"train": rows(12)}))
    with pytest.raises(FtbenchError, match="too few to cut 1 selection rows"):
        cut(tmp_path)


def test_a_split_of_its_own_is_taken_whole_and_nothing_is_cut(folder: Path) -> None:
    train, select, _ = cut(folder, select={"split": "validation"})
    assert (train.num_rows, select.num_rows) == (200, 30)


def test_a_split_of_its_own_gives_up_the_rows_that_are_trained_on(tmp_path: Path) -> None:
    validation = pa.concat_tables([rows(10, text="validation"), rows(4, text="Text Number!")])
    prepared(fetched(tmp_path, {"train": rows(50), "validation": validation}))
    train, select, record = cut(tmp_path, select={"split": "validation"})
    assert not hashes(train) & hashes(select)
    assert (train.num_rows, select.num_rows, record["select_rows"]) == (50, 10, 10)


@pytest.mark.parametrize(("train", "select"), [({"split": "trian"}, {}), ({}, {"split": "dev"})])
def test_an_absent_split_is_refused(folder: Path, train: dict[str, Any], select: dict[str, Any]) -> None:
    with pytest.raises(FtbenchError, match=r"found no rows in split `(trian|dev)`"):
        cut(folder, train, select or {"rows": 40})


def test_a_label_without_a_training_row_is_refused(tmp_path: Path) -> None:
    tables = {"train": rows(40, ["negative"]), "test": rows(4)}
    prepared(fetched(tmp_path, tables))
    with pytest.raises(FtbenchError, match=r"no training row with the labels \['positive'\]"):
        cut(tmp_path, select={"rows": 10})


def test_scores_are_cut_in_the_shares_of_their_range(tmp_path: Path) -> None:
    values = [0.5 * number for number in range(10)]
    prepared(fetched(tmp_path, {"train": rows(100, values)}), kind="regression", labels={}, range=(0, 5))
    _, select, record = cut(tmp_path, select={"rows": 20}, kind="regression", labels=[])
    assert Counter(select.column("value").to_pylist()) == dict.fromkeys(values, 2)
    assert record["label_counts"] is None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    copies=st.lists(st.integers(1, 4), min_size=30, max_size=60),
    spelling=st.lists(st.sampled_from([str.upper, str.title, "{}!".format, " {} ".format]), min_size=4, max_size=4),
    wanted=st.integers(2, 8),
)
def test_a_text_never_stands_on_both_sides_of_the_cut_however_it_is_spelt(
    tmp_path: Path, copies: list[int], spelling: list[Any], wanted: int
) -> None:
    sentences = [spelling[copy](f"word {number}") for number, count in enumerate(copies) for copy in range(count)]
    labels = ["negative", "positive"] * (len(sentences) // 2 + 1)
    table = pa.table({"sentence": sentences, "label": labels[: len(sentences)]})
    prepared(fetched(tmp_path, {"train": table}))
    unique = sum(count == 1 for count in copies)
    if wanted > unique // 2:
        with pytest.raises(FtbenchError, match="too few"):
            cut(tmp_path, select={"rows": wanted})
        return
    train, select, _ = cut(tmp_path, select={"rows": wanted})
    assert not hashes(train) & hashes(select)
    assert train.num_rows + select.num_rows == len(sentences)
    assert select.num_rows == wanted


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(1, 80), st.integers(0, 5))
def test_a_stratified_draw_gives_each_stratum_its_share_to_within_one_row(
    strata: list[str], wanted: int, seed: int
) -> None:
    drawn = stratified(strata, wanted, numpy_generator(seed, "test"))
    assert len(drawn) == len(set(drawn.tolist())) == min(wanted, len(strata))
    assert drawn.tolist() == sorted(drawn.tolist())
    for name, count in Counter(strata).items():
        share = min(wanted, len(strata)) * count / len(strata)
        assert abs(sum(strata[row] == name for row in drawn) - share) < 1
    assert drawn.tolist() == stratified(strata, wanted, numpy_generator(seed, "test")).tolist()


# audit


def evaluation_set(**changes: Any) -> SetSpec:
    content = {"dataset": "reviews", "split": "test", "role": "id", "kind": "classification", "labels": list(NAMES)}
    return SetSpec.model_validate({**content, **changes})


@pytest.fixture
def task(folder: Path) -> Path:
    cut(folder, select={"rows": 40})
    return folder


def test_every_evaluation_row_comes_with_its_set_and_role_the_select_rows_among_them(task: Path) -> None:
    files = {"reviews": task / "prepared.parquet"}
    found, overlap, record = audited(task, {"test": evaluation_set()}, files)
    assert Counter(found.column("eval_set").to_pylist()) == {"select": 40, "test": 40}
    assert {(row["eval_set"], row["role"]) for row in found.to_pylist()} == {("select", "select"), ("test", "id")}
    assert set(found.schema.names) == {"eval_set", "role", "uid", "text_a", "text_b", "label", "value", "aux"}
    assert {name: item["rows"] for name, item in record["sets"].items()} == {"select": 40, "test": 40}
    assert record["labels"] == record["sets"]["test"]["labels"] == list(NAMES)
    assert {row["exact_rows"] for row in overlap.values()} == {0}


def test_rows_that_stand_in_the_training_set_are_counted_with_those_of_another_label(tmp_path: Path) -> None:
    # all training texts are in the test split: half with their own label, a quarter with the other one, re-spelt
    train = rows(40)
    swapped = pa.table({"sentence": ["TEXT, number 0!", "Text number 1"], "label": ["positive", "negative"]})
    test = pa.concat_tables([train.slice(4, 6), swapped, rows(2, text="new")])
    validation = rows(10, text="validation")
    prepared(fetched(tmp_path, {"train": train, "test": test, "validation": validation}))
    cut(tmp_path, select={"split": "validation"})
    _, overlap, _ = audited(tmp_path, {"test": evaluation_set()}, {"reviews": tmp_path / "prepared.parquet"})
    expected = {"train_rows": 40, "eval_rows": 10, "exact_rows": 8, "exact_share": 0.8, "conflict_rows": 2}
    assert expected.items() <= overlap["test"].items()
    assert overlap["select"]["exact_rows"] == 0


def test_overlap_is_told_in_the_log(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"reviews": task / "prepared.parquet"}
    audited(task, {"again": evaluation_set(split="train")}, files)
    assert "80.0% of `again` also stands in the training set" in capsys.readouterr().out


def test_labels_of_a_mapped_set_do_not_conflict_with_their_own_name(tmp_path: Path) -> None:
    prepared(fetched(tmp_path, {"train": rows(40)}))
    cut(tmp_path, select={"rows": 10})
    other = tmp_path / "moods"
    prepared(fetched(other, {"test": rows(40, ["bad", "good"])}), labels={"good": "good", "bad": "bad"})
    mapping = LabelMap(to={"negative": "bad", "positive": "good"})
    wanted = evaluation_set(dataset="moods", labels=["good", "bad"], role="ood", map=mapping)
    found, overlap, record = audited(tmp_path, {"moods": wanted}, {"moods": other / "prepared.parquet"})
    assert (overlap["moods"]["exact_rows"], overlap["moods"]["conflict_rows"]) == (30, 0)
    assert record["sets"]["moods"]["map"] == {"rule": "argmax_then_merge", "to": mapping.to}
    labels = {row["label"] for row in found.to_pylist() if row["eval_set"] == "moods"}
    assert labels == {"good", "bad"}  # gold labels stay in the set's own names


def test_another_label_space_without_a_map_is_refused_with_an_example(task: Path) -> None:
    wanted = evaluation_set(labels=["good", "bad"])
    with pytest.raises(FtbenchError, match=r"evaluation set `test`.*no map.*negative: \.\.\., positive: \.\.\."):
        audited(task, {"test": wanted}, {"reviews": task / "prepared.parquet"})


def test_the_same_labels_in_another_order_need_no_map(task: Path) -> None:
    wanted = evaluation_set(labels=["positive", "negative"])
    _, _, record = audited(task, {"test": wanted}, {"reviews": task / "prepared.parquet"})
    assert record["sets"]["test"]["map"] is None


def test_another_kind_and_an_absent_split_are_refused(task: Path) -> None:
    files = {"reviews": task / "prepared.parquet"}
    with pytest.raises(FtbenchError, match="found a regression set"):
        audited(task, {"test": evaluation_set(kind="regression", labels=[])}, files)
    with pytest.raises(FtbenchError, match=r"no rows in split `dev`.*'test', 'train', 'validation'"):
        audited(task, {"test": evaluation_set(split="dev")}, files)


def test_a_subset_of_an_evaluation_set_is_stratified_and_always_the_same(task: Path) -> None:
    files = {"reviews": task / "prepared.parquet"}
    found = [audited(task, {"small": evaluation_set(rows=10)}, files)[0] for _ in range(2)]
    assert found[0].equals(found[1])
    part = [row for row in found[0].to_pylist() if row["eval_set"] == "small"]
    assert Counter(row["label"] for row in part) == {"negative": 5, "positive": 5}


def prior(folder: Path, evaluation: pa.Table) -> Path:
    prepared(
        fetched(folder, {"pool": rows(20, ["people", "place"], text="topic"), "evaluation": evaluation}),
        labels={"people": "people", "place": "place"},
    )
    return folder / "prepared.parquet"


def prior_set() -> SetSpec:
    return evaluation_set(dataset="topics", split="evaluation", role="prior", labels=["people", "place"])


def test_prior_rows_never_repeat_a_row_of_the_pool_nor_each_other(task: Path) -> None:
    repeated = rows(3, ["people", "place"], text="TOPIC")
    evaluation = pa.concat_tables(
        [repeated, rows(6, ["people", "place"], text="new"), rows(2, ["people"], text="New,")]
    )
    file = prior(task / "topics", evaluation)
    pool = {"prior_pool": "pool", "prior_labels": ["people", "place"]}
    found, _, record = audited(task, {"old": prior_set()}, {"topics": file}, **pool)
    kept = [row["text_a"] for row in found.to_pylist() if row["eval_set"] == "old"]
    assert kept == [f"new {row}" for row in range(6)]
    assert record["prior_labels"] == ["people", "place"]
    assert record["sets"]["old"]["role"] == "prior"


def test_a_prior_set_of_which_the_pool_leaves_nothing_is_refused(task: Path) -> None:
    file = prior(task / "topics", rows(4, ["people", "place"], text="topic"))
    with pytest.raises(FtbenchError, match=r"`old`.*pool"):
        audited(task, {"old": prior_set()}, {"topics": file}, prior_pool="pool", prior_labels=["people", "place"])
