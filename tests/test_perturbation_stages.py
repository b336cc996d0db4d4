"""Stages `perturb`, `predict_perturbed` and `score_perturbed`: same rows for all, and scores against formulas written
out here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from configured import DATASETS, STUDY, changed, configured
from prior_rows import snapshot
from pyarrow import parquet
from results_folder import Folder, small_study

from ftbench import matrix
from ftbench.check import study_problems
from ftbench.config.load import load_catalogue, load_study
from ftbench.plan import Plan
from ftbench.stages import perturb, predict_perturbed, score_perturbed
from ftbench.statistics.strength_curves import mean_height
from ftbench.tables.store import read_table, write_table

LABELS = ["no", "yes"]


def entry(plugin: str = "letter_case", **changes: Any) -> dict[str, Any]:
    config = {"phrases": {"label": "yes", "phrases": ["fine"]}}.get(plugin, {})
    about = {"plugin": plugin, "config": config, "sets": ["test"], "strengths": [0.5], "rows": 20, "seeds": [0]}
    return {**about, "texts": "both", **changes}


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    """40 rows of the set `test`, 40 of `far`, and the audit that names them."""
    rows = [
        {"uid": f"{name}{number}", "text_a": f"the room number {number} was good",
         "text_b": "a pair" if pairs else None,
         "label": LABELS[number % 2], "value": None, "eval_set": name, "role": "id"}
        for name, pairs in (("test", False), ("far", True)) for number in range(40)
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "evaluation.parquet")
    sets = {name: {"role": "id", "kind": "classification", "labels": LABELS, "map": None} for name in ("test", "far")}
    (tmp_path / "audit.json").write_text(json.dumps({"sets": sets}))
    return tmp_path


def perturbed(folder: Path, **entries: dict[str, Any]) -> list[dict[str, Any]]:
    spec = perturb.Spec.model_validate({"task": "reviews", "perturbations": entries})
    inputs = {"evaluation": folder / "evaluation.parquet", "audit": folder / "audit.json"}
    perturb.run(spec, inputs, {"perturbed": folder / "perturbed.parquet"})
    return parquet.read_table(folder / "perturbed.parquet").to_pylist()


def test_every_strength_and_seed_has_the_same_rows_and_the_unedited_ones_stand_beside_them(evaluation: Path) -> None:
    rows = perturbed(evaluation, caps=entry(strengths=[0.2, 0.9], seeds=[0, 3], sets=["test", "far", "gone"]))
    groups: dict[tuple[Any, ...], list[str]] = {}
    for row in rows:
        groups.setdefault((row["perturbation"], row["eval_set"], row["seed"], row["strength"]), []).append(row["uid"])
    assert len(groups) == 2 * (1 + 4)
    for name in ("test", "far"):
        uids = {tuple(found) for key, found in groups.items() if key[1] == name}
        assert len(uids) == 1
        assert sum(uid in {f"{name}{even}" for even in range(0, 40, 2)} for uid in uids.pop()) == 10  # stratified
    source = {row["uid"]: row for row in parquet.read_table(evaluation / "evaluation.parquet").to_pylist()}
    for row in rows:
        assert row["label"] == source[row["uid"]]["label"]
        same = (row["text_a"], row["text_b"]) == (source[row["uid"]]["text_a"], source[row["uid"]]["text_b"])
        assert row["changed"] is not same
        assert row["text_a"].lower() == source[row["uid"]]["text_a"]
        assert same or row["perturbation"] == "caps"


def test_adding_a_perturbation_leaves_the_rows_of_the_others_as_they_were(evaluation: Path) -> None:
    before = perturbed(evaluation, caps=entry())
    after = perturbed(evaluation, noise=entry("typos", rows=40), caps=entry())
    assert [row for row in after if row["perturbation"] == "caps"] == [row for row in before if row["perturbation"]]


def test_one_text_of_a_pair_is_edited_where_that_is_asked_and_no_text_becomes_empty(evaluation: Path) -> None:
    rows = perturbed(evaluation, caps=entry(sets=["far"], strengths=[1.0], texts="b"))
    assert {row["text_b"] for row in rows if row["perturbation"]} == {"A PAIR"}
    assert all(row["text_a"].islower() for row in rows)
    marks = pa.Table.from_pylist(
        [{**parquet.read_table(evaluation / "evaluation.parquet").to_pylist()[0], "text_a": "..."}]
    )
    parquet.write_table(marks, evaluation / "evaluation.parquet")
    bare = entry("punctuation", config={"operation": "remove"}, strengths=[1.0])
    assert {row["text_a"] for row in perturbed(evaluation, bare=bare)} == {"..."}


def test_predictions_of_edited_texts_are_those_of_the_texts(evaluation: Path, tmp_path: Path) -> None:
    """Against the model called on each text alone; a strength that changes nothing gives the unedited logits."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from ftbench.training.weights import save_weights

    folder = snapshot(tmp_path / "snapshot")
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    save_weights(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "run.json").write_text(json.dumps({"status": "success", "labels": LABELS}))
    rows = perturbed(evaluation, caps=entry("numbers", strengths=[1.0]), order=entry("word_order", strengths=[1e-9]))
    inputs = {
        "perturbed": tmp_path / "perturbed.parquet", "audit": tmp_path / "audit.json",
        "base": tmp_path / "base.json", "record": tmp_path / "run.json", "model": tmp_path / "model.safetensors",
    }  # fmt: skip
    spec = predict_perturbed.Spec(
        artifact="runs/a", kind="classification", labels=LABELS, max_length=16, precision="fp32"
    )
    predict_perturbed.run(spec, inputs, {"predictions": tmp_path / "predictions.parquet"})
    found = read_table("perturbed_predictions", tmp_path / "predictions.parquet").to_pylist()
    assert [row["uid"] for row in found] == [row["uid"] for row in rows]
    model.eval()
    for row, edited in list(zip(found, rows, strict=True))[::7]:
        with torch.inference_mode():
            expected = model(**tokenizer(edited["text_a"], return_tensors="pt", truncation=True, max_length=16)).logits
        np.testing.assert_allclose(row["logits"], expected[0].numpy(), atol=1e-5)
    clean = {row["uid"]: row["logits"] for row in found if not row["perturbation"]}
    assert all(row["logits"] == clean[row["uid"]] for row in found if row["perturbation"] == "order")


def predictions(plan: dict[tuple[str, int, float], np.ndarray], changed_rows: np.ndarray) -> list[dict[str, Any]]:
    """Rows of stored predictions from P(yes) by (perturbation, seed, strength); the gold labels take turns."""
    return [
        {"artifact_id": "runs/a", "perturbation": name, "eval_set": "test", "seed": seed, "strength": strength,
         "uid": f"u{number}", "changed": bool(name) and bool(changed_rows[number]), "gold": LABELS[number % 2],
         "gold_value": None, "logits": [float(np.log(1 - p)), float(np.log(p))]}
        for (name, seed, strength), values in plan.items() for number, p in enumerate(values)
    ]  # fmt: skip


def scored(folder: Path, rows: list[dict[str, Any]], **entries: dict[str, Any]) -> dict[float, dict[str, Any]]:
    audit = {"sets": {"test": {"role": "id", "kind": "classification", "labels": LABELS, "map": None}}}
    (folder / "audit.json").write_text(json.dumps(audit))
    write_table("perturbed_predictions", rows, folder / "predictions.parquet", {"labels": LABELS})
    kept = {
        name: {key: item[key] for key in ("plugin", "config", "strengths", "seeds")} for name, item in entries.items()
    }
    spec = score_perturbed.Spec.model_validate(
        {"artifact": "runs/a", "study": "s", "task": "t", "model": "m", "artifact_kind": "run", "method": "vanilla",
         "variant": "default", "seed": 0, "metric": "accuracy", "perturbations": kept, "resamples": 400}
    )  # fmt: skip
    inputs = {"predictions": folder / "predictions.parquet", "audit": folder / "audit.json"}
    score_perturbed.run(spec, inputs, {"scores": folder / "scores.parquet"})
    return {row["strength"]: row for row in read_table("perturbations", folder / "scores.parquet").to_pylist()}


def test_scores_drops_areas_and_failures_follow_their_formulas(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows, strengths = 60, [0.1, 0.4]
    gold = np.arange(rows) % 2
    p = {("", 0, 0.0): draw.uniform(0.05, 0.95, rows)}
    p |= {("e", seed, strength): draw.uniform(0.05, 0.95, rows) for seed in (0, 5) for strength in strengths}
    touched = draw.random(rows) < 0.7
    p = {key: np.where(touched, values, p["", 0, 0.0]) for key, values in p.items()}
    found = scored(tmp_path, predictions(p, touched), e=entry(strengths=strengths, seeds=[0, 5]))

    right = {key: (values > 0.5) == gold for key, values in p.items()}
    heights = [right["", 0, 0.0].mean()] + [np.mean([right["e", seed, s] for seed in (0, 5)]) for s in strengths]
    assert list(found) == [0.0, *strengths]
    for (strength, row), height in zip(found.items(), heights, strict=True):
        assert row["value"] == pytest.approx(height)
        assert row["clean_value"] == pytest.approx(heights[0])
        assert row["drop"] == pytest.approx(heights[0] - height)
        area = ((heights[0] + heights[1]) / 2 * 0.1 + (heights[1] + heights[2]) / 2 * 0.3) / 0.4
        assert row["area"] == pytest.approx(area)
        assert row["area_low"] < area < row["area_high"]
        assert row["direction_failure_rate"] is None
        if strength:
            fails = [
                ((p["e", seed, strength] > 0.5) != (p["", 0, 0.0] > 0.5))
                | (np.abs(p["e", seed, strength] - p["", 0, 0.0]) > 0.1)  # two labels: both probabilities move alike
                for seed in (0, 5)
            ]
            assert row["invariance_failure_rate"] == pytest.approx(np.mean([one[touched] for one in fails]))
            assert row["changed_share"] == pytest.approx(touched.mean())
    zero = found[0.0]
    assert (zero["drop"], zero["drop_low"], zero["drop_high"], zero["changed_share"]) == (0, 0, 0, 0)
    assert zero["invariance_failure_rate"] is None
    # the interval of the paired difference, from the normal approximation of its standard error
    strongest = np.mean([right["e", seed, 0.4] for seed in (0, 5)], axis=0)
    error = (right["", 0, 0.0] - strongest).std(ddof=1) / np.sqrt(rows)
    assert found[0.4]["drop_high"] - found[0.4]["drop_low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_a_direction_fails_only_where_a_probability_moves_the_wrong_way_by_more_than_a_tenth(tmp_path: Path) -> None:
    clean = np.array([0.8, 0.8, 0.3, 0.3, 0.3, 0.8])
    after = np.array([0.95, 0.72, 0.35, 0.45, 0.1, 0.3])
    plan = {("", 0, 0.0): clean, ("e", 0, 1.0): after}
    touched = np.array([True, True, True, True, True, False])
    up = scored(tmp_path, predictions(plan, touched), e=entry("phrases", strengths=[1.0]))[1.0]
    assert (up["value"], up["area"], up["expected_label"]) == (None, None, "yes")  # no true label any more
    assert up["direction_failure_rate"] == pytest.approx(1 / 5)  # P(yes) falls: 0.3 to 0.1
    down = scored(tmp_path, predictions(plan, touched), e=entry("negation", strengths=[1.0]))[1.0]
    # P(predicted) must not rise: 0.8 to 0.95 does, and P(no) from 0.7 to 0.9; 0.7 to 0.55 falls
    assert down["direction_failure_rate"] == pytest.approx(2 / 5)
    assert down["invariance_failure_rate"] is None


def test_the_mean_height_is_the_area_by_trapezoids_over_the_width() -> None:
    from scipy.integrate import trapezoid

    strengths, scores = np.array([0, 0.02, 0.05, 0.1]), np.random.default_rng(1).random((5, 4))
    np.testing.assert_allclose(mean_height(strengths, scores), trapezoid(scores, strengths, axis=1) / 0.1)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("typo", {}, "unknown perturbation `typo`. Did you mean `typos`?"),
        ("caps", {"use": "leter_case"}, "letter_case"),
        ("typos", {"settings": {"shortst": 3}}, "shortest"),
        ("typos", {"sets": ["tset"]}, "no evaluation set"),
        ("phrases", {"settings": {"label": "positiv", "phrases": ["fine"]}}, "none of the labels"),
        ("synonyms", {}, "synonyms"),
    ],
)
def test_a_wrong_perturbation_is_named_with_its_key(tmp_path: Path, key: str, value: Any, words: str) -> None:
    root = configured(tmp_path, changed(STUDY, f"perturbations.{key}", value))
    problems = study_problems(load_study("small", root), load_catalogue(root))
    assert any(words in line and f"perturbations.{key}" in line and "small.yaml" in line for line in problems), problems


@pytest.mark.parametrize("strengths", [[0.0, 0.1], [0.2, 0.1], [1.1], []])
def test_strengths_ascend_between_0_and_1(tmp_path: Path, strengths: list[float]) -> None:
    from ftbench.config.errors import FtbenchError

    root = configured(tmp_path, changed(STUDY, "perturbations.typos.strengths", strengths))
    with pytest.raises(FtbenchError, match="strengths"):
        load_study("small", root)


def test_perturbations_hang_beside_training_and_ordinary_predictions(tmp_path: Path) -> None:
    datasets = {name: {**item, "local": {"folder": name}} for name, item in DATASETS.items()}
    plain = Plan.load("small", configured(tmp_path / "a", STUDY, datasets))
    study = changed(STUDY, "perturbations.typos", {"seeds": [0, 1]})
    more = Plan.load("small", configured(tmp_path / "b", study, datasets))
    commands = {plain.command(job) for job in plain.jobs() if job.stage not in ("collect", "compare", "report")}
    added = [job for job in more.jobs() if job.stage not in ("collect", "compare", "report")]
    new = [job for job in added if more.command(job) not in commands]
    assert len(added) == len(commands) + len(new)
    cells = {cell.artifact for cell in matrix.perturbed(more.study)}
    assert len(cells) == 4 + 2  # runs and soups, no base artifact
    assert {(job.stage, job.cell) for job in new} == {("perturb", "reviews")} | {
        (stage, cell) for cell in cells for stage in ("predict_perturbed", "score_perturbed")
    }
    assert not any("predictions.parquet" in path for job in new for path in job.inputs.values())


def test_scores_under_perturbation_reach_tables_figure_and_page_and_absent_ones_are_named(tmp_path: Path) -> None:
    study = small_study(perturbations={"typos": {"strengths": [0.1], "sets": ["test"]}}, soups={})
    folder = Folder(tmp_path, study)
    folder.fill()
    cells = [cell.artifact for cell in matrix.perturbed(study)]
    for cell in cells[1:]:
        place = dict(zip(("task", "model", "method", "variant", "seed"), cell.split("/")[1:], strict=True))
        row = {
            "artifact_id": cell, "eval_set": "test", "perturbation": "typos", "study": "demo", "artifact_kind": "run",
            **place, "seed": int(place["seed"][1:]), "role": "id", "plugin": "typos", "seeds": [0], "n": 50,
            "changed_share": 0.9, "metric": "accuracy", "clean_value": 0.8, "area": 0.75, "expectation": "same",
            "tolerance": 0.1, "higher_is_better": True, "unit": "fraction", "resamples": 0,
        }  # fmt: skip
        points = ((0.0, 0.8, 0.0), (0.1, 0.7, 0.1))
        rows = [{**row, "strength": strength, "value": value, "drop": drop} for strength, value, drop in points]
        file = folder.places.path("perturbations", artifact=cell)
        write_table("perturbations", rows, file)
        folder.places.path("perturbed_predictions", artifact=cell).touch()
    results = folder.finish()
    assert {row["artifact_id"] for row in results.perturbations} == set(cells[1:])
    absent = [row for row in results.missing if row["artifact_id"] == cells[0]]
    assert [row["stage"] for row in absent] == ["predict_perturbed", "score_perturbed"]
    page = folder.page("index.html")
    assert "Under perturbation" in page
    assert "drop +10.0" in page
    assert "75.0" in page
    svg = folder.page("perturbations.svg")
    assert "typos, test" in svg
