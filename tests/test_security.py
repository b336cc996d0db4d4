"""What a hostile name, text or token may not do: leave the results folder, reach a shell, run code, be written down."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from configured import DATASETS, MODELS, STUDY, changed, configured
from hub_server import Fault, serving
from test_hub import SETS, fetch_spec, run_stages

from ftbench.config.errors import FtbenchError
from ftbench.plan import Plan
from ftbench.provenance import provenance

TOKEN = "hf_aSecretThatNobodyMayRead"
HOSTILE = 'a\'; touch hacked; echo "$(touch hacked)" `touch hacked` {wildcards} \n #'


@pytest.mark.parametrize("name", ["../out", "/out", "a/b", "a b", "$(a)", "-a", ".hidden", "a\nb", ""])
@pytest.mark.parametrize("place", ["tasks", "methods", "models", "soups", "datasets", "evaluate"])
def test_a_name_that_could_leave_its_folder_or_mean_something_to_a_shell_is_refused(
    tmp_path: Path, place: str, name: str
) -> None:
    study, datasets, models = STUDY, DATASETS, MODELS
    if place == "datasets":
        datasets = {**DATASETS, name: DATASETS["reviews"]}
    elif place == "models":
        models = {**MODELS, name: MODELS["tiny"]}
    elif place == "evaluate":
        sets = {name: STUDY["tasks"]["reviews"]["evaluate"]["test"]}
        study = {**STUDY, "tasks": {"reviews": {**STUDY["tasks"]["reviews"], "evaluate": sets}}}
    else:
        study = {**STUDY, place: {**STUDY[place], name: next(iter(STUDY[place].values()))}}
    with pytest.raises(FtbenchError):
        Plan.load("small", configured(tmp_path, study, datasets, models))


def test_text_of_an_entry_reaches_the_stage_as_it_is_and_no_shell(tmp_path: Path) -> None:
    label = changed(DATASETS, "reviews.label", HOSTILE)
    plan = Plan.load("small", configured(tmp_path, datasets=label))
    job = plan.job("fetch", dataset="reviews")
    command = plan.command(job)
    told = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    words = told.split("\0")[:-1]
    assert words == shlex.split(command)
    assert json.loads(words[words.index("--spec") + 1])["label"] == HOSTILE
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['touch hacked']", "!!python/name:os.system", "!!binary x"]
)
def test_yaml_that_makes_objects_is_refused(tmp_path: Path, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    configured(tmp_path)
    with (tmp_path / "config" / "studies" / "small.yaml").open("a") as file:
        file.write(f"description: {tag}\n")
    with pytest.raises(FtbenchError):
        Plan.load("small", tmp_path)
    assert not (tmp_path / "hacked").exists()


def test_a_token_is_in_no_log_record_or_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving() as hub:
        hub.add("datasets", "owner/secret", SETS, {"README.md": b"---\n---\n"})
        refusal = {"status": 403, "times": 99, "headers": {"X-Error-Code": "GatedRepo"}}
        hub.faults += [Fault("owner/secret", method=method, **refusal) for method in ("GET", "HEAD", "POST")]  # type: ignore[arg-type]
        spec: dict[str, Any] = fetch_spec(hub={"repository": "owner/secret"})
        outputs = ["fetched.parquet", "record.json"]
        ended = run_stages(hub, tmp_path, "fetch", outputs, {"secret": spec}, {"HF_TOKEN": TOKEN})["secret"]
    assert ended.status == 1
    assert TOKEN not in ended.log
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert TOKEN.encode() not in file.read_bytes(), file
    assert TOKEN not in json.dumps(provenance("abc", "2026-01-01T00:00:00"))
    plan = Plan.load("small", configured(tmp_path / "project"))
    assert not [job for job in plan.jobs() if TOKEN in plan.command(job)]
