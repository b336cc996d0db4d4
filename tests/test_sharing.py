"""Archives of results: whole or refused; joined tables of sites that agree, and reasons where they do not."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from results_folder import Folder, small_study
from typer.testing import CliRunner

from ftbench.cli import app
from ftbench.config.errors import FtbenchError
from ftbench.reading.archive import verified
from ftbench.reading.merge import merge
from ftbench.tables.store import read_table, write_table


@pytest.fixture
def folder(project_with_tables: Folder) -> Folder:
    return project_with_tables


def ftbench(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_an_archive_holds_what_is_needed_to_read_it_and_verifies(folder: Folder) -> None:
    weights = folder.places.path("run_model", task="reviews", model="tiny", method="plain", variant="default", seed=0)
    weights.write_bytes(b"weights")
    ftbench("bundle", "demo", "a.zip")
    ftbench("bundle", "demo", "b.zip")
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()
    assert "as listed" in ftbench("verify", "a.zip")
    names = zipfile.ZipFile("a.zip").namelist()
    assert {"tables/metrics.parquet", "report/index.html", "study.json", "manifest.json"} <= set(names)
    assert not [name for name in names if name.endswith("safetensors") or "predictions.parquet" in name]
    ftbench("bundle", "demo", "c.zip", "--weights", "--predictions")
    more = set(zipfile.ZipFile("c.zip").namelist()) - set(names)
    assert len([name for name in more if name.endswith("model.safetensors")]) == 1
    assert len([name for name in more if name.endswith("predictions.parquet")]) == 22
    with pytest.raises(FtbenchError, match="there already"):
        CliRunner().invoke(app, ["bundle", "demo", "a.zip"], catch_exceptions=False)


def test_the_crate_describes_every_file_with_its_digest(folder: Folder) -> None:
    ftbench("bundle", "demo", "a.zip")
    archive = zipfile.ZipFile("a.zip")
    graph = {item["@id"]: item for item in json.loads(archive.read("ro-crate-metadata.json"))["@graph"]}
    manifest = json.loads(archive.read("manifest.json"))["files"]
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert graph["./"]["@type"] == "Dataset"
    assert all(part["@id"] in graph for part in graph["./"]["hasPart"])
    assert graph["tables/runs.parquet"]["sha256"] == manifest["tables/runs.parquet"]["sha256"]
    assert graph["#ftbench"]["version"] == "0123456789abcdef"


def rewritten(source: Path, target: Path, changes: dict[str, bytes | None], more: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in more.items():
            new.writestr(name, content)
    return target


def test_a_changed_missing_added_or_dangerous_file_is_named(folder: Folder) -> None:
    ftbench("bundle", "demo", "a.zip")
    source = Path("a.zip")
    page = zipfile.ZipFile(source).read("report/index.html")
    for changes, more, words in (
        ({"report/index.html": page[:-1] + b"x"}, {}, r"report/index.html: sha256 \w+ instead of"),
        ({"report/index.html": page + b"x"}, {}, "bytes instead of"),
        ({"study.json": None}, {}, "study.json: listed in the manifest but not there"),
        ({}, {"evil.py": b""}, "evil.py: not listed"),
        ({}, {"../evil.py": b""}, "leads out of the archive"),
        ({"manifest.json": b"{}"}, {}, "no manifest"),
    ):
        with pytest.raises(FtbenchError, match=words):
            verified(rewritten(source, Path("bad.zip"), changes, more))
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(FtbenchError, match="no readable archive"):
        verified(source)


def site(root: Path, folder: Folder, **changes: Any) -> Folder:
    """Another site that ran part of the study."""
    other = Folder(root, small_study(**changes))
    shutil.copytree(folder.places.root, other.places.root)
    other.finish()
    return other


def test_sites_that_ran_different_methods_are_joined_and_compared(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftbench.cited.cited_sources", lambda *_: [])  # the study's methods are made up
    study = {"soups": {}}
    first = site(Path("one"), folder, methods={"plain": None}, **study)
    second = site(Path("two"), folder, methods={"plain": None, "better": {"variants": {"a": {}, "b": {}}}}, **study)
    ftbench("merge", "joined", str(first.places.root), str(second.places.root), "--study", "demo")
    runs = read_table("runs", Path("joined/tables/runs.parquet")).to_pylist()
    assert len(runs) == 18
    assert {row["study"] for row in runs} == {"joined"}
    rows = read_table("comparisons", Path("joined/tables/comparisons.parquet")).to_pylist()
    assert {"paired_t", "permutation", "aso"} <= {row["test"] for row in rows}
    assert not {"hierarchical", "mcnemar"} & {row["test"] for row in rows}, "predictions stay on their sites"
    assert "better" in {row["verdict"] for row in rows}
    assert Path("joined/report/index.html").is_file()


def test_a_gap_that_another_site_fills_is_none(folder: Folder) -> None:
    first = site(Path("one"), folder, soups={})
    run = first.places.path("run", task="reviews", model="tiny", method="better", variant="a", seed=1)
    run.unlink()
    first.finish()
    second = site(Path("two"), folder, soups={})
    assert [row for row in first.rows("missing") if row["stage"] == "finetune"]
    merge({"one": first.places.root, "two": second.places.root}, Path("joined"), "joined")
    missing = read_table("missing", Path("joined/tables/missing.parquet")).to_pylist()
    assert not [row for row in missing if row["stage"] == "finetune"]
    runs = read_table("runs", Path("joined/tables/runs.parquet")).to_pylist()
    assert {row["status"] for row in runs} == {"success"}


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("metrics", {"n": 199}, "evaluation rows or label map of reviews / "),
        ("metrics", {"value": 0.123, "ci_low": None, "ci_high": None}, "metrics: .* value, ci_low, ci_high differ"),
        ("runs", {"code_fingerprint": "another"}, "code of better / a"),
        ("runs", {"train_rows": 7}, "training rows of reviews"),
    ],
)
def test_what_does_not_match_is_refused_with_the_reason(
    folder: Folder, table: str, change: dict[str, Any], words: str
) -> None:
    first, second = (site(Path(name), folder, soups={}) for name in ("one", "two"))
    known = {"code_fingerprint": "one", "train_rows": 5} if table == "runs" else {}
    for place, values in ((first, known), (second, {**known, **change})):
        write_table(table, [{**row, **values} for row in place.rows(table)], place.table(table))
    with pytest.raises(FtbenchError, match=words):
        merge({"one": first.places.root, "two": second.places.root}, Path("joined"), "joined")
    assert not Path("joined").exists()
