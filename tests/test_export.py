"""`ftbench export`: what it writes loads without this package and predicts what the study predicted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from configured import STUDY, configured
from pyarrow import parquet
from small_bench import LABELS, averaged, finetuned, make_bench, predicted

from ftbench.config.errors import FtbenchError
from ftbench.export import export

METHODS = ("vanilla", "lora", "houlsby_adapter")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder whose study has one run of each method, a soup and a failed run, with predictions."""
    root = tmp_path_factory.mktemp("project")
    content = {**STUDY, "init": "shared", "methods": dict.fromkeys(METHODS), "prior": {"dataset": "topics"}}
    content["soups"] = {"uniform": {"recipe": "uniform", "methods": ["lora"]}}
    configured(root, study=content)
    bench = make_bench(root / "bench")
    results = root / "results" / "small"
    base = results / "models" / "tiny"
    shutil.copytree(bench / "snapshot", base / "snapshot")
    (base / "base.json").write_text(json.dumps({"repository": "someone/tiny", "revision": "a" * 40}))
    (results / "prior" / "prior" / "tiny").mkdir(parents=True)
    shutil.copy(bench / "start.safetensors", results / "prior" / "prior" / "tiny" / "model.safetensors")
    task = results / "data" / "tasks" / "reviews"
    task.mkdir(parents=True)
    shutil.copy(bench / "select.parquet", task)
    for method in METHODS:
        place = results / "runs" / "reviews" / "tiny" / method / "default" / "s0"
        finetuned(bench, place, method)
        predicted(bench, place)
    failed = results / "runs" / "reviews" / "tiny" / "vanilla" / "default" / "s1"
    failed.mkdir()
    (failed / "run.json").write_text(json.dumps({"status": "failed", "error": "the loss was no longer finite"}))
    soup = results / "soups" / "reviews" / "tiny" / "uniform-lora-default"
    averaged(bench, [results / "runs/reviews/tiny/lora/default/s0"], soup)
    predicted(bench, soup, "soup")
    return root


def exported(project: Path, artifact: str, folder: Path) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        return export(artifact, folder, "small")


def logits_of(folder: Path, texts: list[str]) -> np.ndarray:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        found: Any = model(**tokenizer(texts, truncation=True, max_length=8, padding=True, return_tensors="pt"))
    return found.logits.numpy()


@pytest.mark.parametrize(
    "artifact",
    [
        "runs/reviews/tiny/vanilla/default/s0",
        "results/small/runs/reviews/tiny/lora/default/s0/",
        "soups/reviews/tiny/uniform-lora-default",
    ],
)
def test_an_exported_folder_predicts_what_the_study_predicted(project: Path, tmp_path: Path, artifact: str) -> None:
    folder = tmp_path / "out"
    told = exported(project, artifact, folder)
    assert ("merged" in told[0]) == (artifact.startswith("results") and "lora" in artifact)
    place = project / "results" / "small" / artifact.removeprefix("results/small/")
    table = parquet.read_table(place / "predictions.parquet").to_pandas()
    texts = parquet.read_table(project / "bench" / "evaluation.parquet").to_pandas().set_index("uid")["text_a"]
    part = table[table["eval_set"] == "test"]
    expected = np.stack(part["logits"].to_list())
    found = logits_of(folder, texts.loc[part["uid"]].to_list())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    config = json.loads((folder / "config.json").read_text())
    assert [config["id2label"][str(number)] for number in range(2)] == LABELS
    assert not list(folder.glob("*.bin"))
    assert not list(tmp_path.glob(".out*"))


def test_nothing_in_the_folder_names_a_place_of_this_machine(project: Path, tmp_path: Path) -> None:
    exported(project, "runs/reviews/tiny/vanilla/default/s0", tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        if file.suffix in (".json", ".md"):
            assert str(project) not in file.read_text(encoding="utf-8"), file.name


def test_the_card_says_what_it_is_and_its_example_runs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    exported(project, "soups/reviews/tiny/uniform-lora-default", folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "base_model: someone/tiny" in card
    assert "`runs/reviews/tiny/x/default/s0` | 1.0000" in card
    assert "Labels, in the order of the logits: `negative`, `positive`." in card
    found = re.search(r"```python\n(.*?)```", card, re.S)
    assert found
    monkeypatch.chdir(folder)
    exec(compile(found[1], "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() in LABELS


@pytest.mark.parametrize(
    ("artifact", "expected"),
    [
        ("runs/reviews/tiny/houlsby_adapter/default/s0", "cannot be turned into plain weights: an activation"),
        ("runs/reviews/tiny/vanilla/default/s1", "has no weights to export: the loss was no longer finite"),
        ("runs/reviews/tiny/lora/default/s1", "is not there yet"),
        ("runs/reviews/tiny/vanila/default/s0", "Did you mean `runs/reviews/tiny/vanilla/default/s"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_reason(
    project: Path, tmp_path: Path, artifact: str, expected: str
) -> None:
    with pytest.raises(FtbenchError, match=re.escape(expected)):
        exported(project, artifact, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(project: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FtbenchError, match="found files there"):
        exported(project, "runs/reviews/tiny/vanilla/default/s0", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_the_card_shows_scores_with_their_intervals() -> None:
    from ftbench.report.card import model_card

    score = {
        "eval_set": "far",
        "role": "ood",
        "metric": "accuracy",
        "value": 0.5,
        "ci_low": 0.4,
        "ci_high": 0.6,
        "n": 9,
    }
    missing = {**score, "metric": "f1", "value": None, "ci_low": None, "ci_high": None}
    record = {"study": "s", "method": "m", "variant": "v", "task": "t", "seed": 3, "status": "success"}
    settings = {"kind": "regression", "labels": [], "max_length": 9, "merged": False, "pair": True}
    card = model_card("runs/x", record, [score, missing], {"title": "Tiny", "licence": "MIT"}, settings)
    assert "| `far` | ood | accuracy | 0.5000 | 0.4000 to 0.6000 | 9 |" in card
    assert "| `far` | ood | f1 |  |  | 9 |" in card
    assert "float(model(**inputs).logits)" in card
    assert 'tokenizer("first text", "second text"' in card
    assert "terms of the base model: MIT" in card
