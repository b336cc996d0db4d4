"""Entry files of data sets and models, and files that are no configuration at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from configured import DATASETS, STUDY, changed, configured

from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study, read_yaml


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("reviews.fileds", {}, "Did you mean `fields`?"),
        ("reviews.fields.text_c", "x", "Did you mean `text_"),
        ("reviews.splits.train.row", 3, "Did you mean `rows`?"),
        ("reviews.hub", {"repository": "a/b", "revision": "main"}, "reviews.hub.revision"),
        ("reviews.labels", {"positive": 1}, "at least two names"),
        ("reviews.label", None, "`label`, the source column"),
        ("reviews.maps", [{"to": {"a": "nobody"}}], "['nobody'] are none"),
        ("scores.range", None, "`range: [low, high]`"),
        ("reviews", None, "a mapping of keys to values"),
    ],
)
def test_a_mistake_in_a_data_set_entry_is_told_with_file_and_key(
    tmp_path: Path, path: str, value: object, expected: str
) -> None:
    with pytest.raises(FtbenchError) as caught:
        load_catalogue(configured(tmp_path, datasets=changed(DATASETS, path, value)))
    assert "config/datasets/small.yaml: key `" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"built_in": {"corpus": "corpus", "layer": 3}}, "Did you mean `layers`?"),
        ({"title": "nothing"}, "exactly one of"),
        ({"path": "x", "package": "y", "folder": "z"}, "exactly one of"),
        ({"package": "y"}, "`folder` beside `package`"),
        ({"path": "x", "digest": "abc"}, "digest"),
        ({"hub": {"repository": "a/b", "revision": "a" * 39}}, "revision"),
    ],
)
def test_a_mistake_in_a_model_entry_is_told_with_file_and_key(
    tmp_path: Path, entry: dict[str, Any], expected: str
) -> None:
    with pytest.raises(FtbenchError) as caught:
        load_catalogue(configured(tmp_path, models={"tiny": entry}))
    assert "config/models/small.yaml: key `tiny" in str(caught.value)
    assert expected in str(caught.value)


def test_problems_of_all_entry_files_are_told_together(tmp_path: Path) -> None:
    root = configured(tmp_path, datasets=changed(DATASETS, "reviews.fileds", 1), models={"tiny": {"path": 3}})
    (root / "config" / "datasets" / "broken.yaml").write_text("a: [")
    with pytest.raises(FtbenchError) as caught:
        load_catalogue(root)
    for part in ("reviews.fileds", "tiny.path", "broken.yaml: found no valid YAML"):
        assert part in str(caught.value)


def test_a_name_that_two_files_give_is_refused(tmp_path: Path) -> None:
    root = configured(tmp_path)
    (root / "config" / "datasets" / "zz.yaml").write_text(yaml.safe_dump({"reviews": DATASETS["reviews"]}))
    with pytest.raises(FtbenchError, match=r"zz\.yaml.*`reviews`.*twice.*small\.yaml"):
        load_catalogue(root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seeds: [0]\nseeds: [1]\n", "the key `seeds` stands twice"),
        ("training: {epochs: 1, epochs: 2}\n", "the key `epochs` stands twice"),
        ("training:\n\t- tab\n", "found no valid YAML"),
        ("- a list\n", "a mapping of keys to values"),
        ("", "a mapping of keys to values"),
        ("a: &x {b: 1}\n? [1, 2]\n: 3\n", "small.yaml"),
        ("? {a: 1}\n: 3\n", "found no valid YAML"),
    ],
)
def test_a_file_that_is_no_study_is_told_with_its_name(tmp_path: Path, text: str, expected: str) -> None:
    root = configured(tmp_path)
    (root / "config" / "studies" / "small.yaml").write_text(text)
    with pytest.raises(FtbenchError) as caught:
        load_study("small", root)
    message = str(caught.value)
    assert "small.yaml" in message
    assert expected in message


def test_merge_keys_of_yaml_still_work(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_yaml(file) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


def test_an_absent_study_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match="Did you mean `small`"):
        load_study("smal", configured(tmp_path))
    with pytest.raises(FtbenchError, match="no such file"):
        load_study("elsewhere/absent.yaml", tmp_path)


@pytest.mark.parametrize("name", ["a b", "$(rm)", "-rf", ".hidden"])
def test_a_study_whose_file_name_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    file = configured(tmp_path) / "config" / "studies" / f"{name}.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    with pytest.raises(FtbenchError, match="the file name"):
        load_study(str(file), tmp_path)
