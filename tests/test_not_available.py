"""Data sets behind a gate or a form, or in files of one's own: a named state from the download to the report."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from configured import DATASETS, STUDY, changed, configured
from data_stages import audited, cut, fetched, prepared, rows
from hub_server import Fault, serving
from results_folder import Folder, small_study
from test_hub import CARD, SETS, fetch_spec, parquet_bytes, run_stages

from ftbench.check import study_problems
from ftbench.config.dataset import Fields
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.data.availability import reason_of, refusal
from ftbench.data.parquet import read_parquet_file
from ftbench.stages import fetch
from ftbench.stages.audit import SetSpec

GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this data set is restricted"}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Stage `fetch` on a hub that gives one set to those alone who have consented."""
    specs = {
        "gated": fetch_spec(access="gated", hub={"repository": "owner/gated"}),
        "form": fetch_spec(access="form", hub={"repository": "owner/gated"}),
        "open": fetch_spec(hub={"repository": "owner/gated"}),
        "given": fetch_spec(access="gated", splits={"train": "train"}),
    }
    with serving() as hub:
        files = {"README.md": CARD} | {
            f"plain/{name}-0.parquet": parquet_bytes(rows(10)) for name in ("train", "validation")
        }
        for name in ("gated", "sets"):
            hub.add("datasets", f"owner/{name}", SETS, files)
        for method in ("GET", "HEAD", "POST"):
            hub.faults.append(Fault("owner/gated", 10_000, method, status=403, headers=GATED))
        folder = tmp_path_factory.mktemp("gated")
        outputs = ["fetched.parquet", "record.json"]
        return dict(run_stages(hub, folder, "fetch", outputs, specs, {"FTBENCH_RETRY_SECONDS": "0"}))


@pytest.mark.parametrize(("case", "words"), [("gated", "the hub asks for consent first"), ("form", "a form first")])
def test_a_refused_set_is_a_state_with_a_reason_and_no_failure(refused: dict[str, Any], case: str, words: str) -> None:
    ended = refused[case]
    assert ended.status == 0, ended.log
    (ended.folder / "record.json").rename(ended.folder / "fetched.json")
    record = json.loads((ended.folder / "fetched.json").read_text())
    assert words in record["not_available"]
    assert "hf auth login" in record["not_available"]
    assert (record["origin"], record["rows"], record["digest"]) == ("not available", {}, None)
    assert not list((ended.folder / "work").glob("failures/*"))
    table, card = prepared(ended.folder)
    assert table.num_rows == 0
    assert card["not_available"] == record["not_available"] == reason_of(table)


def test_only_a_refusal_of_a_set_that_asks_for_access_is_a_state(refused: dict[str, Any]) -> None:
    """A set that ought to be open, and a hub that is broken, are errors as ever; with access rows come."""
    assert refused["open"].status == 1
    assert "gated" in refused["open"].reason
    assert json.loads((refused["given"].folder / "record.json").read_text())["rows"] == {"train": 10}
    broken = RuntimeError("the hub is down")
    broken.response = SimpleNamespace(status_code=503)  # type: ignore[attr-defined]
    assert refusal(broken, "gated") is None


def without_access(folder: Path, dataset: str) -> Path:
    """Stages `fetch` and `prepare` of a set that only its owners give: the prepared file."""
    folder.mkdir()
    spec = fetch.Spec(dataset=dataset, fields=Fields(text_a="sentence"), label="label", access="form")
    fetch.run(spec, {}, {"fetched": folder / "fetched.parquet", "record": folder / "fetched.json"})
    prepared(folder, dataset=dataset)
    return folder / "prepared.parquet"


def test_a_study_goes_on_without_the_set_and_its_tables_and_means_say_so(tmp_path: Path) -> None:
    prepared(fetched(tmp_path / "reviews", {"train": rows(120), "test": rows(30, text="another")}))
    cut(tmp_path / "reviews", select={"rows": 20})
    files = {
        "reviews": tmp_path / "reviews" / "prepared.parquet",
        "locked": without_access(tmp_path / "locked", "locked"),
    }
    sets = {
        name: SetSpec(dataset=dataset, split="test", role=role, kind="classification", labels=["negative", "positive"])
        for name, dataset, role in (("test", "reviews", "id"), ("farther", "locked", "ood"))
    }
    evaluation, overlap, record = audited(tmp_path / "reviews", sets, files)
    assert set(evaluation.column("eval_set").to_pylist()) == set(overlap) == {"select", "test"}
    assert set(record["sets"]) == {"select", "test"}
    reason = record["absent"]["farther"]
    assert reason.startswith("not available: data set locked: its owners ask for a form first")

    # the same state in a results folder, put through collect, compare and report
    study = small_study(absent_tasks={"names": {"datasets": ["people"], "reason": "nothing here predicts entities"}})
    folder = Folder(tmp_path / "study", study)
    folder.fill()
    place = folder.places.path("audit", task="reviews")
    content = json.loads(place.read_text())
    content["absent"] = {"farther": reason}
    place.write_text(json.dumps(content))
    results = folder.finish()
    missing = {(row["artifact_id"], row["stage"]): row["reason"] for row in results.missing}
    assert missing["reviews/farther", "audit"] == reason
    assert missing["names/people", "task"] == "not available: nothing here predicts entities"
    assert "farther" not in results.study.tasks["reviews"].evaluate
    page = folder.page("index.html")
    assert "not available: data set locked" in page
    head = next(line for line in folder.page("leaderboard.md").splitlines() if line.startswith("| method"))
    assert "far" in head
    assert "farther" not in head  # no column, so the mean of the shifted sets is that of the others


def test_a_task_whose_training_set_is_not_available_says_so(tmp_path: Path) -> None:
    without_access(tmp_path / "locked", "locked")
    with pytest.raises(FtbenchError, match=r"task reviews: its data set reviews is not available: its owners ask"):
        cut(tmp_path / "locked")


def test_only_a_set_that_is_not_available_may_have_no_rows(tmp_path: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(rows(1).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(FtbenchError, match="found no rows"):
        read_parquet_file(tmp_path / "empty.parquet")


def test_a_set_of_entities_is_an_entry_and_no_task(tmp_path: Path) -> None:
    entities = {**DATASETS["scores"], "kind": "entities", "range": None}
    datasets = {**DATASETS, "people": {key: value for key, value in entities.items() if value is not None}}
    study = changed(STUDY, "tasks.reviews.train.dataset", "people")
    root = configured(tmp_path, study, datasets)
    problems = study_problems(load_study("small", root), load_catalogue(root))
    assert any("which nothing here predicts" in line and "absent_tasks" in line for line in problems), problems
    listed = changed(STUDY, "absent_tasks.names", {"datasets": ["people", "pepole"], "reason": "not predicted"})
    root = configured(tmp_path, listed, datasets)
    problems = study_problems(load_study("small", root), load_catalogue(root))
    assert len(problems) == 1
    assert "absent_tasks.names.datasets" in problems[0]
    assert "`people`" in problems[0]
