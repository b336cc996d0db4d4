"""Stages `fetch` and `prepare` on local files: labels by name, counts, and every way a file can be wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from data_stages import NAMES, class_label, fetched, prepared, rows
from pyarrow import parquet

from ftbench.config.dataset import Fields, GeneratedSource
from ftbench.config.errors import FtbenchError
from ftbench.stages import fetch

# labels by name


def gold(table: pa.Table) -> dict[str, str]:
    return dict(zip(table.column("text_a").to_pylist(), table.column("label").to_pylist(), strict=True))


@pytest.mark.parametrize("names", [["negative", "positive"], ["positive", "negative"]])
def test_integer_labels_get_the_name_that_the_file_gives_them_whatever_its_order(
    tmp_path: Path, names: list[str]
) -> None:
    table = class_label(rows(4, [0, 1]), names)
    found, card = prepared(fetched(tmp_path, {"train": table}))
    assert gold(found) == {f"text number {row}": names[row % 2] for row in range(4)}
    assert card["warnings"] == []
    assert card["labels"] == list(NAMES)


def test_integers_of_an_entry_are_checked_against_the_names_in_the_file(tmp_path: Path) -> None:
    numbers = {"negative": 0, "positive": 1}
    found, _ = prepared(fetched(tmp_path, {"train": class_label(rows(4, [0, 1]), list(numbers))}), labels=numbers)
    assert gold(found)["text number 1"] == "positive"
    folder = fetched(tmp_path / "swapped", {"train": class_label(rows(4, [0, 1]), ["positive", "negative"])})
    with pytest.raises(FtbenchError, match=r"`labels\.negative`: found value 0, which the data name `positive`"):
        prepared(folder, labels=numbers)
    with pytest.raises(FtbenchError, match=r"`labels\.positive`: found value 7"):
        prepared(folder, labels={"negative": "negative", "positive": 7})


def test_other_names_for_the_same_label_are_read_by_name(tmp_path: Path) -> None:
    table = class_label(rows(4, [0, 1]), ["pos", "neg"])
    found, _ = prepared(fetched(tmp_path, {"train": table}), labels={"negative": "neg", "positive": "pos"})
    assert gold(found)["text number 0"] == "positive"


def test_a_label_that_the_data_do_not_have_is_refused_with_what_they_have(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": class_label(rows(4, [0, 1]), ["negative", "positive"])})
    with pytest.raises(FtbenchError, match=r"`labels\.neutral`: found `neutral`.*\['negative', 'positive'\]"):
        prepared(folder, labels={**NAMES, "neutral": "neutral"})


def test_a_named_label_without_any_row_is_refused(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": class_label(rows(4, [0, 1]), ["negative", "positive", "neutral"])})
    with pytest.raises(FtbenchError, match=r"no row with \['neutral'\]"):
        prepared(folder, labels={**NAMES, "neutral": "neutral"})
    with pytest.raises(FtbenchError, match=r"no row with \['neutral'\]"):
        prepared(fetched(tmp_path / "plain", {"train": rows(4)}), labels={**NAMES, "neutral": "neutral"})


def test_two_names_for_one_raw_value_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match="negative"):
        prepared(fetched(tmp_path, {"train": rows(4)}), labels={"negative": "positive", "positive": "positive"})


def test_a_value_that_the_entry_does_not_name_is_refused(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": rows(6, ["negative", "positive", "mixed"])})
    with pytest.raises(FtbenchError, match=r"split train: found label values \['mixed'\].*`unlabelled`"):
        prepared(folder)
    found, card = prepared(folder, unlabelled=["mixed"])
    assert found.num_rows == 4
    assert card["splits"]["train"]["dropped_unlabelled"] == 2


def test_plain_integers_are_believed_with_a_warning(tmp_path: Path) -> None:
    found, card = prepared(fetched(tmp_path, {"train": rows(4, [0, 1])}), labels={"negative": 0, "positive": 1})
    assert gold(found)["text number 1"] == "positive"
    assert any("no label names" in warning for warning in card["warnings"])


@pytest.mark.parametrize("missing", [-1, None])
def test_rows_without_a_label_are_dropped_and_counted(tmp_path: Path, missing: int | None) -> None:
    table = class_label(rows(9, [0, 1, missing]), list(NAMES))
    found, card = prepared(fetched(tmp_path, {"train": rows_of(table), "test": table}), unlabelled=[-1])
    assert card["splits"]["test"] == {
        "rows": 6, "label_counts": {"negative": 3, "positive": 3}, "dropped_unlabelled": 3, "dropped_without_text": 0,
    }  # fmt: skip
    assert None not in found.column("label").to_pylist()


def rows_of(table: pa.Table) -> pa.Table:
    """The rows with a label, with the metadata kept."""
    return table.filter(pa.compute.greater_equal(table.column("label"), 0))


def test_splits_that_name_their_labels_differently_are_refused(tmp_path: Path) -> None:
    one, other = (class_label(rows(4, [0, 1]), names) for names in (["a", "b"], ["b", "a"]))
    with pytest.raises(FtbenchError, match="name their labels differently"):
        fetched(tmp_path, {"train": one, "test": other})


# texts, uids and scores


def test_rows_without_a_text_are_dropped_and_counted(tmp_path: Path) -> None:
    table = pa.table(
        {"sentence": ["a", "", None, "b"], "second": ["x", "y", "z", ""], "label": ["negative", "positive"] * 2}
    )
    both = Fields(text_a="sentence", text_b="second")
    found, card = prepared(fetched(tmp_path, {"train": table}), labels=NAMES)
    assert (found.num_rows, card["splits"]["train"]["dropped_without_text"]) == (2, 2)
    table = pa.concat_tables([table, pa.table({"sentence": ["c"], "second": ["u"], "label": ["positive"]})])
    found, card = prepared(fetched(tmp_path / "pairs", {"train": table}, fields=both))
    assert found.column("text_b").to_pylist() == ["x", "u"]
    assert card["splits"]["train"]["dropped_without_text"] == 3


def test_a_single_text_has_no_second_one(tmp_path: Path) -> None:
    found, _ = prepared(fetched(tmp_path, {"train": rows(4)}))
    assert found.column("text_b").null_count == 4
    assert found.schema.names == ["split", "uid", "text_a", "text_b", "label", "value", "aux"]


def test_uids_are_unique_and_the_same_every_time_even_for_equal_texts(tmp_path: Path) -> None:
    table = pa.concat_tables([rows(4), rows(4)])
    first, _ = prepared(fetched(tmp_path / "a", {"train": table, "test": table}))
    again, _ = prepared(fetched(tmp_path / "b", {"test": table, "train": table}))
    assert len(set(first.column("uid").to_pylist())) == 16
    assert sorted(first.column("uid").to_pylist()) == sorted(again.column("uid").to_pylist())


def test_equal_input_gives_equal_files(tmp_path: Path) -> None:
    digests = []
    for name in "ab":
        folder = fetched(tmp_path / name, {"train": rows(10)})
        prepared(folder)
        names = ("fetched.parquet", "fetched.json", "prepared.parquet", "card.json")
        digests.append([hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in names])
    assert digests[0] == digests[1]


def test_scores_are_numbers_within_their_range(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": rows(4, [0.5, 3.0, None])})
    found, card = prepared(folder, kind="regression", labels={}, range=(0, 5))
    assert found.column("value").to_pylist() == [0.5, 3.0, 0.5]
    assert found.column("label").null_count == 3
    assert card["splits"]["train"]["dropped_unlabelled"] == 1
    with pytest.raises(FtbenchError, match=r"outside \[0\.0, 2\.0\]: \[3\.0\]"):
        prepared(folder, kind="regression", labels={}, range=(0, 2))


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": rows(4, [0.5, float("nan")])})
    with pytest.raises(FtbenchError, match="outside"):
        prepared(folder, kind="regression", labels={}, range=(0, 5))
    words = fetched(tmp_path / "words", {"train": rows(4, ["low", "high"])})
    with pytest.raises(FtbenchError, match="score"):
        prepared(words, kind="regression", labels={}, range=(0, 5))


def test_scores_that_stand_for_none_are_dropped_and_counted(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": rows(4, [0.5, -1.0])})
    found, card = prepared(folder, kind="regression", labels={}, range=(0, 5), unlabelled=[-1])
    assert found.column("value").to_pylist() == [0.5, 0.5]
    assert card["splits"]["train"]["dropped_unlabelled"] == 2


def test_plain_text_needs_no_label(tmp_path: Path) -> None:
    found, card = prepared(fetched(tmp_path, {"train": rows(3)}, label=None), kind="text", labels={})
    assert found.num_rows == card["splits"]["train"]["rows"] == 3
    assert card["splits"]["train"]["label_counts"] is None


# files that are wrong


@pytest.mark.parametrize(
    ("fields", "label", "expected"),
    [
        (Fields(text_a="sentense"), "label", r"no column `sentense` \(key `text_a`.*Did you mean `sentence`"),
        (Fields(text_a="sentence", text_b="hypothesis"), "label", r"no column `hypothesis` \(key `text_b`"),
        (Fields(text_a="sentence"), "lable", r"no column `lable` \(key `label`.*Did you mean `label`"),
    ],
)
def test_a_missing_column_is_told_with_the_file_and_the_columns_there_are(
    tmp_path: Path, fields: Fields, label: str, expected: str
) -> None:
    with pytest.raises(FtbenchError, match=r"source-train\.parquet: found " + expected):
        fetched(tmp_path, {"train": rows(4)}, label, fields=fields)


def test_columns_of_a_type_that_is_no_text_are_told(tmp_path: Path) -> None:
    table = pa.table({"sentence": [["a", "b"]], "label": ["negative"]})
    with pytest.raises(FtbenchError, match=r"source-train\.parquet.*`sentence`.*list"):
        fetched(tmp_path, {"train": table})


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match=r"source-train\.parquet: found no rows"):
        fetched(tmp_path, {"train": rows(4).slice(0, 0)})


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", "half"])
def test_an_empty_or_truncated_file_is_refused_with_its_size(tmp_path: Path, content: bytes | str) -> None:
    file = tmp_path / "broken.parquet"
    parquet.write_table(rows(500), file)
    whole = file.read_bytes()
    content = whole[: len(whole) // 2] if isinstance(content, str) else content
    file.write_bytes(content)
    with pytest.raises(FtbenchError, match=rf"broken\.parquet: found no readable Parquet file \({len(content)} bytes"):
        fetched(tmp_path, {"train": file})


def test_a_folder_in_place_of_a_file_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match=r"absent\.parquet: found no such file"):
        fetched(tmp_path, {"train": tmp_path / "absent.parquet"})


def test_a_damaged_page_in_the_middle_of_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "broken.parquet"
    parquet.write_table(rows(2000), file, compression="zstd")
    content = bytearray(file.read_bytes())
    content[100:400] = b"\x00" * 300
    file.write_bytes(bytes(content))
    with pytest.raises(FtbenchError, match=r"broken\.parquet"):
        fetched(tmp_path, {"train": file})


def test_a_data_set_without_any_source_says_where_to_put_files(tmp_path: Path) -> None:
    spec = fetch.Spec(dataset="hans", fields=Fields(text_a="premise"))
    with pytest.raises(FtbenchError, match=r"hans.*`data_root=DIR`.*access: open"):
        fetch.run(spec, {}, {"fetched": tmp_path / "a", "record": tmp_path / "b"})


# counts


def with_origin(folder: Path, origin: str) -> Path:
    record = json.loads((folder / "fetched.json").read_text())
    (folder / "fetched.json").write_text(json.dumps({**record, "origin": origin}))
    return folder


def test_another_number_of_rows_is_an_error_at_a_pinned_revision_and_a_warning_for_a_local_copy(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": rows(4)})
    _, card = prepared(folder, rows={"train": [67349, 67348]})
    assert any("found 4 rows; expected 67349 or 67348" in warning for warning in card["warnings"])
    with pytest.raises(FtbenchError, match=r"found 4 rows; expected 67349.*revision"):
        prepared(with_origin(folder, "hub"), rows={"train": [67349]})


def test_either_known_number_of_rows_passes_without_a_warning(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": class_label(rows(4, [0, 1]), list(NAMES))})
    assert prepared(folder, rows={"train": [10, 4]})[1]["warnings"] == []


def test_unlabelled_rows_count_as_rows_of_the_split(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": class_label(rows(6, [0, 1, -1]), list(NAMES))})
    _, card = prepared(with_origin(folder, "hub"), rows={"train": [6]}, unlabelled=[-1])
    assert card["splits"]["train"]["rows"] == 4


def test_the_card_tells_where_the_rows_come_from(tmp_path: Path) -> None:
    folder = fetched(tmp_path, {"train": rows(4)})
    _, card = prepared(folder)
    assert (card["dataset"], card["origin"], card["revision"]) == ("reviews", "data_root", None)
    assert card["digest"] == hashlib.sha256((folder / "fetched.parquet").read_bytes()).hexdigest()


# the generator


def generated(folder: Path, part: str, **settings: Any) -> pa.Table:
    folder.mkdir()
    label = None if part == "corpus" else "label"
    source = GeneratedSource(part=part, settings=settings)
    spec = fetch.Spec(dataset="demo", generated=source, fields=Fields(text_a="text"), label=label)
    fetch.run(spec, {}, {"fetched": folder / "fetched.parquet", "record": folder / "fetched.json"})
    return parquet.read_table(folder / "fetched.parquet")


def test_generated_rows_come_with_their_splits_and_the_same_every_time(tmp_path: Path) -> None:
    first, again = (generated(tmp_path / name, "reviews", train_rows=20, evaluation_rows=10) for name in "ab")
    assert first.equals(again)
    found, _ = prepared(tmp_path / "a")
    assert set(found.column("label").to_pylist()) == set(NAMES)


def test_misspelt_settings_and_parts_of_the_generator_are_told(tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match="Did you mean `train_rows`"):
        generated(tmp_path / "a", "reviews", train_row=20)
    with pytest.raises(FtbenchError, match="reviews"):
        generated(tmp_path / "b", "revews")
