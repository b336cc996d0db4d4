"""`ftbench status`, `why`, `accept` and `plan --cost` on the finished small study and after changes to it."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from project import Project

from ftbench import driver
from ftbench.acceptance import reasons, standing_for
from ftbench.cost import Past, costs, span
from ftbench.plan import Plan
from ftbench.sources import changes, note
from ftbench.status import Cell, cells, summary
from ftbench.why import differences, explain, explain_all

RUN = "runs/reviews/smoke_encoder/dps_dense/default/s0"
TABLES = {"collect": {"study"}, "compare": {"study"}, "report": {"study"}}


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The finished study as the present folder."""
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("FTBENCH_DATA_ROOT", raising=False)
    return project


def states() -> dict[str, Cell]:
    return {cell.artifact: cell for cell in cells(Plan.load("smoke"))}


def test_a_finished_study_is_done_and_each_fault_shows_at_its_cell(here: Project) -> None:
    found = states()
    assert {cell.state for cell in found.values()} == {"done"}
    assert len(found) == 9
    assert summary(list(found.values())) == "9 cells: 9 done"

    (here.results / "predictions" / RUN / "metrics.parquet").unlink()
    cell = states()[RUN]
    assert (cell.state, cell.stage) == ("to do", "score")
    assert 0 < cell.seconds_left < 60  # the score alone, from what it took before
    assert states()[RUN.replace("s0", "s1")].state == "done"

    with (here.results / ".work" / "locks" / f"score--{RUN.replace('/', '--')}").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert states()[RUN].state == "running"
    failure = here.results / ".work" / "failures" / f"score--{RUN.replace('/', '--')}.json"
    failure.parent.mkdir(exist_ok=True)
    failure.write_text(json.dumps({"stage": "score", "cell": RUN, "reason": "no space left"}))
    cell = states()[RUN]
    assert (cell.state, cell.reason) == ("failed", "no space left")
    told = list(explain(Plan.load("smoke"), RUN))
    assert told[0] == f"{RUN}: failed at score: no space left"
    assert any(f"logs/score/{RUN}.log" in line for line in told)
    assert "a rerun takes about" in told[-1]


def test_a_cell_waits_in_the_queue_while_a_workflow_lives(here: Project) -> None:
    (here.results / "predictions" / RUN / "metrics.parquet").unlink()
    driver.SIGNS.mkdir(parents=True, exist_ok=True)
    sign = driver.SIGNS / "elsewhere-1.json"
    sign.write_text(json.dumps({"host": "elsewhere", "process": 1}))
    assert states()[RUN].state == "to do"  # its workflow has ended
    with sign.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert states()[RUN].state == "queued"


def test_cells_whose_data_cannot_be_had_say_what_is_not_available(here: Project) -> None:
    from ftbench.partial import build_tables

    refused = {"stage": "fetch", "cell": "smoke_reviews", "reason": "It is gated"}
    for place in ("runs", "predictions", "data", "soups"):
        shutil.rmtree(here.results / place)
    (here.results / ".work/failures").mkdir(exist_ok=True)
    (here.results / ".work/failures/fetch--smoke_reviews.json").write_text(json.dumps(refused))
    (here.results / "logs/fetch/smoke_reviews.log").write_text("+ command\nasking the hub\nerror: It is gated\n")
    reason = "not available: fetch smoke_reviews: It is gated"
    found = states()
    assert {(cell.state, cell.stage, cell.reason) for cell in found.values()} == {("failed", "fetch", reason)}
    told = list(explain(Plan.load("smoke"), RUN))
    assert told[0] == f"{RUN}: failed at fetch: {reason}"
    assert "    error: It is gated" in told
    list(build_tables("smoke"))
    tables = {name: pd.read_parquet(here.results / f"partial/tables/{name}.parquet") for name in ("runs", "missing")}
    assert set(tables["runs"].status) == {"missing"}
    assert set(tables["runs"].error) == {reason}
    missing = tables["missing"].set_index(["artifact_id", "stage"]).reason
    assert missing["smoke_reviews", "fetch"] == "It is gated"
    assert missing[RUN, "finetune"] == reason


def test_a_changed_setting_is_told_by_its_key_for_every_cell_that_it_touches(here: Project) -> None:
    here.edit("config/studies/smoke.yaml", "update_ratio: 0.2", "update_ratio: 0.25")
    found = states()
    assert {artifact for artifact, cell in found.items() if cell.state == "stale"} == {RUN, RUN.replace("s0", "s1")}
    told = "\n".join(explain_all(Plan.load("smoke")))
    assert told.count("finetune: methods.0.config.update_ratio: 0.2 -> 0.25") == 2
    assert "vanilla" not in told


def test_a_changed_function_is_told_by_its_name_and_can_be_accepted(project: Project) -> None:
    project.edit(
        "src/ftbench/methods/dps_dense.py",
        "    def gradients_ready(self",
        "    EXTRA = 1\n\n    def gradients_ready(self",
    )
    cells_touched = {RUN, RUN.replace("s0", "s1")}
    assert project.stale() == {"finetune": cells_touched, "predict": cells_touched, "score": cells_touched, **TABLES}
    told = project.run("ftbench", "why", RUN, "--study", "smoke").stdout
    assert "finetune: source of ftbench.methods.dps_dense: statements" in told
    assert "gradients_ready" not in told

    refused = project.run("ftbench", "accept", "smoke", "--why", "ok", check=False)
    assert refused.returncode == 1
    assert "expected a sentence" in refused.stderr
    told = project.run("ftbench", "accept", "smoke", "--why", "the constant is not used").stdout
    assert "2 finished cells stay as they are" in told
    assert project.stale() == {}
    entry = json.loads((project.folder / "config/accepted.json").read_text())[0]
    assert entry["why"] == "the constant is not used"
    assert entry["changes"] == ["source of ftbench.methods.dps_dense: statements"]
    assert project.run("ftbench", "why", "--all", "--study", "smoke").stdout == "no cell is stale or failed\n"

    # another change on top is not accepted, and undoing the acceptance brings the rerun back
    project.edit("src/ftbench/methods/dps_dense.py", "EXTRA = 1", "EXTRA = 2")
    assert project.stale()["finetune"] == cells_touched
    project.edit("src/ftbench/methods/dps_dense.py", "EXTRA = 2", "EXTRA = 1")
    assert project.stale() == {}
    (project.folder / "config/accepted.json").unlink()
    assert project.stale()["finetune"] == cells_touched


def test_what_was_accepted_stands_in_the_record_of_later_runs(tmp_path: Path) -> None:
    file = tmp_path / "accepted.json"
    assert standing_for("c", file) == "c"
    entries = [
        {"at": "2026-01-02T00:00:00", "why": "a new name", "sources": {"b": "a"}, "changes": []},
        {"at": "2026-02-03T00:00:00", "why": "a new log line", "sources": {"c": "a", "z": "y"}, "changes": []},
    ]
    file.write_text(json.dumps(entries))
    assert [standing_for(source, file) for source in "abcxz"] == ["a", "a", "a", "x", "y"]
    assert reasons("a", file) == ["2026-01-02: a new name", "2026-02-03: a new log line"]
    assert reasons("y", file) == ["2026-02-03: a new log line"]
    assert reasons("x", file) == []
    file.write_text(json.dumps([{"at": "", "why": "", "sources": {"a": "b", "b": "a"}}]))
    assert standing_for("a", file) in "ab"  # a circle made by hand ends


def test_nothing_to_accept_is_an_error_in_words(project: Project) -> None:
    done = project.run("ftbench", "accept", "smoke", "--why", "no change at all", check=False)
    assert done.returncode == 1
    assert "nothing to accept" in done.stderr


def test_costs_rest_on_past_jobs_where_there_are_any(here: Project) -> None:
    plan = Plan.load("smoke")
    found = {one.stage: one for one in costs(plan)}
    assert found["finetune"].jobs == 6
    assert "past job" in found["finetune"].basis
    made = [json.loads(file.read_text()) for file in (here.results / ".work" / "made").glob("finetune--*.json")]
    assert found["finetune"].seconds == pytest.approx(sum(one["seconds"] for one in made))
    total = sum(one.seconds for one in found.values())
    assert span(plan, 1) == pytest.approx(total)
    assert total / 4 <= span(plan, 4) < total
    # a seed that never ran takes what the others took
    here.edit("config/studies/smoke.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    more = {one.stage: one for one in costs(Plan.load("smoke"))}["finetune"]
    assert more.seconds == pytest.approx(1.5 * found["finetune"].seconds)
    # a study that never ran is estimated from the one that did, else from rows and parameters
    (here.folder / "config/studies/other.yaml").write_text((here.folder / "config/studies/smoke.yaml").read_text())
    other = Plan.load("other")
    job = next(job for job in other.jobs() if job.stage == "finetune")
    assert Past(other).estimate(job)[1].endswith("of other studies")
    told = here.run("ftbench", "plan", "smoke", "--cost", COLUMNS="150").stdout
    assert "GPU hours" in told


def test_differences_name_the_leaf() -> None:
    before = {"a": {"b": [1, {"c": 2}]}, "gone": 1, "same": [1]}
    after = {"a": {"b": [1, {"c": 3}]}, "new": [], "same": [1]}
    assert list(differences(before, after)) == ["a.b.1.c: 2 -> 3", "gone: 1 -> None", "new: None -> []"]


def test_functions_of_a_source_are_noted_and_a_comment_is_no_change(tmp_path: Path) -> None:
    modules = ("ftbench.metrics.accuracy",)
    assert changes(tmp_path, "unknown", modules) is None
    note(tmp_path, modules)
    (file,) = tmp_path.iterdir()
    assert changes(tmp_path, file.stem, modules) == []
    content = json.loads(file.read_text())
    name = next(key for key in content["ftbench.metrics.accuracy"] if key != "statements")
    content["ftbench.metrics.accuracy"][name] = "other"
    content["ftbench.gone"] = {}
    file.write_text(json.dumps(content))
    assert changes(tmp_path, file.stem, modules) == ["ftbench.gone: gone", f"ftbench.metrics.accuracy: {name}"]
