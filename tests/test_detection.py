"""Scores and measures of detection against reference numbers and counts written out, and its jobs in a study."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configured import STUDY, changed, configured
from numpy.typing import NDArray
from project import Project
from safetensors.numpy import load_file

from ftbench.check import study_problems
from ftbench.config.load import load_catalogue, load_study
from ftbench.stages import detect
from ftbench.statistics.detection import Separation, auroc_resamples, false_positive_rate, separation
from ftbench.statistics.outlier_scores import Gaussians, from_logits, nearest_distance, neighbours_used
from ftbench.tables.store import empty, read_table, write_table

GOLDEN = Path(os.environ.get("FTBENCH_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))
needs_golden = pytest.mark.skipif(not (GOLDEN / "ood_scores").is_dir(), reason=f"no reference numbers at {GOLDEN}")
Values = NDArray[np.float64]


def case(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / name / "case.json").read_text())
    return content


def same(found: Separation, wanted: dict[str, float], tolerance: float) -> None:
    names = {
        "auroc": "auroc", "average_precision_out": "aupr_out", "average_precision_in": "aupr_in",
        "aupr_out_trapezoid": "aupr_out_trapezoid", "aupr_in_trapezoid": "aupr_in_trapezoid",
        "fpr95_ood_positive": "fpr95", "fpr95_id_positive": "fpr95_in",
    }  # fmt: skip
    for theirs, ours in names.items():
        assert getattr(found, ours) == pytest.approx(wanted[theirs], abs=tolerance), ours


@needs_golden
def test_measures_of_scores_with_ties_are_those_of_the_references() -> None:
    content = case("detection_metrics")
    values = content["values"]
    score, outside = np.array(values["score"]), np.array(values["is_ood"]) == 1
    same(separation(score[~outside], score[outside]), values, content["tolerance"]["abs"])


@needs_golden
def test_scores_of_logits_and_features_are_those_of_the_reference() -> None:
    content = case("ood_scores")
    inputs, expected = (load_file(GOLDEN / "ood_scores" / f"{name}.safetensors") for name in ("inputs", "expected"))
    train, test, head = (inputs[name].astype(np.float64) for name in ("train_features", "test_features", "head"))
    logits, tolerance, hyper = test @ head.T, content["tolerance"], content["hyper"]
    scores = {name: from_logits(name, logits, hyper["temperature"]) for name in ("msp", "energy")}
    scores["mahalanobis"] = Gaussians(train, inputs["train_labels"]).mahalanobis(test)
    scores["knn"] = nearest_distance(train, test, hyper["K"])
    confidence = {name: expected[f"confidence/{name}"].astype(np.float64) for name in scores}
    np.testing.assert_allclose(1 - scores["msp"], confidence["msp"], atol=tolerance["msp_abs"], rtol=0)
    np.testing.assert_allclose(-scores["energy"], confidence["energy"], atol=tolerance["energy_abs"], rtol=0)
    np.testing.assert_allclose(-scores["mahalanobis"], confidence["mahalanobis"], rtol=tolerance["mahalanobis_rel"])
    # the reference keeps the squared distance, which orders rows alike
    np.testing.assert_allclose(-(scores["knn"] ** 2), confidence["knn"], atol=tolerance["knn_abs"], rtol=0)
    for name, score in scores.items():
        inside, outside = score[: hyper["n_id"]], score[hyper["n_id"] :]
        same(separation(inside, outside), content["values"]["metrics"][name], tolerance["metrics_abs"])


def test_scores_follow_their_formulas_written_out() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(30, 4)) * 3
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(from_logits("max_logit", logits), -logits.max(axis=1))
    np.testing.assert_allclose(from_logits("entropy", logits), -(shares * np.log(shares)).sum(axis=1))
    np.testing.assert_allclose(from_logits("msp", logits), 1 - shares.max(axis=1), atol=1e-12)
    np.testing.assert_allclose(from_logits("energy", logits, 2.0), -2 * np.log(np.exp(logits / 2).sum(axis=1)))
    sure = np.array([[0.0, 60.0], [0.0, 80.0]])  # both have 1 - max p = 0 when that is rounded
    assert from_logits("msp", sure)[0] > from_logits("msp", sure)[1] > 0

    train, labels = generator.normal(size=(90, 5)), np.repeat([3, 7, 8], 30)
    means = np.stack([train[labels == name].mean(axis=0) for name in (3, 7, 8)])
    centred = np.concatenate([train[labels == name] - mean for name, mean in zip((3, 7, 8), means, strict=True)])
    within, around = (np.linalg.inv(np.cov(rows.T, bias=True)) for rows in (centred, train))
    test = generator.normal(size=(8, 5))
    distance = [min((row - mean) @ within @ (row - mean) for mean in means) for row in test]
    single = [(row - train.mean(axis=0)) @ around @ (row - train.mean(axis=0)) for row in test]
    gaussians = Gaussians(train, labels)
    np.testing.assert_allclose(gaussians.mahalanobis(test), distance, rtol=1e-4)
    np.testing.assert_allclose(gaussians.relative_mahalanobis(test), np.array(distance) - single, rtol=1e-4, atol=1e-4)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, test)]
    brute = np.sort(np.linalg.norm(unit[1][:, None] - unit[0][None], axis=2), axis=1)
    np.testing.assert_allclose(nearest_distance(train, test, 4), brute[:, 3], atol=1e-9)
    assert (neighbours_used(90, 50), neighbours_used(10_000, 50)) == (9, 50)
    assert (neighbours_used(1500, 50), neighbours_used(1500, 50, 10), neighbours_used(1500, 4, 10)) == (38, 10, 4)
    assert neighbours_used(1, 50, 1) == 1
    np.testing.assert_allclose(nearest_distance(train, test, 50), brute[:, 8], atol=1e-9)


def test_measures_agree_with_counting_every_pair_and_every_threshold() -> None:
    generator = np.random.default_rng(1)
    for trial in range(20):
        inside = generator.integers(0, 9, size=23 + trial).astype(float)
        outside = generator.integers(3, 12, size=17).astype(float)
        wins = np.mean([(high > low) + 0.5 * (high == low) for low in inside for high in outside])
        rates = [
            np.mean(inside >= cut) for cut in np.unique(np.concatenate([inside, outside]))
            if np.mean(outside >= cut) >= 0.95
        ]  # fmt: skip
        found = separation(inside, outside)
        assert found.auroc == pytest.approx(wins)
        assert found.fpr95 == pytest.approx(min(rates)) == false_positive_rate(inside, outside)


def test_resampled_auroc_is_that_of_resampled_rows() -> None:
    generator = np.random.default_rng(2)
    inside, outside = generator.integers(0, 9, size=60).astype(float), generator.integers(2, 12, size=40).astype(float)
    drawn = auroc_resamples(inside, outside, np.random.default_rng(3), 3000)
    plain = [
        separation(generator.choice(inside, len(inside)), generator.choice(outside, len(outside))).auroc
        for _ in range(400)
    ]
    spread = float(np.std(plain))
    assert abs(drawn.mean() - np.mean(plain)) < 0.25 * spread
    np.testing.assert_allclose(np.percentile(drawn, [5, 95]), np.percentile(plain, [5, 95]), atol=0.5 * spread)


def stored(file: Path, scores: dict[str, Values]) -> None:
    """Predictions of two labels whose largest logit is the negative of a score."""
    rows = [
        {"artifact_id": "runs/a", "eval_set": name, "role": role, "uid": f"{name}{number}", "gold": None,
         "pred": "a", "logits": [-float(value), -float(value) - 1.0]}
        for name, values in scores.items()
        for role in [{"select": "select", "test": "id"}.get(name, "ood")]
        for number, value in enumerate(values)
    ]  # fmt: skip
    write_table("predictions", rows, file, {"labels": ["a", "b"]})


def detected(folder: Path, given: dict[str, Values], **changes: Any) -> list[dict[str, Any]]:
    stored(folder / "predictions.parquet", given)
    spec = detect.Spec.model_validate(
        {"artifact": "runs/a", "study": "s", "task": "t", "model": "m", "artifact_kind": "run", "inside": "test",
         "outside": ["far"], "scores": ["max_logit"], "temperature": 1.0, "neighbours": 50, "accepted": 0.9,
         "resamples": 100, **changes}
    )  # fmt: skip
    inputs = {"predictions": folder / "predictions.parquet", "features": folder / "features.parquet"}
    detect.run(spec, inputs, {"detection": folder / "detection.parquet"})
    found: list[dict[str, Any]] = read_table("detection", folder / "detection.parquet").to_pylist()
    return found


def test_the_threshold_is_that_of_the_selection_rows_alone(tmp_path: Path) -> None:
    scores = {"select": np.arange(10.0), "test": np.array([0.0, 8.0, 8.5, 20.0]), "far": np.array([8.0, 9.0, 30.0])}
    (row,) = detected(tmp_path, scores)
    assert row["threshold"] == 8.0  # nine of ten selection rows do not exceed it
    assert (row["id_flagged"], row["ood_flagged"]) == (0.5, pytest.approx(2 / 3))
    assert (row["n_id"], row["n_ood"], row["n_select"], row["positive"]) == (4, 3, 10, "ood")
    (other,) = detected(tmp_path, {**scores, "test": scores["test"] + 5, "far": scores["far"] - 3})
    assert other["threshold"] == row["threshold"]


def test_scores_that_are_no_numbers_give_nulls_with_the_reason(tmp_path: Path) -> None:
    far = np.array([1.0, np.inf])
    (row,) = detected(tmp_path, {"select": np.arange(5.0), "test": np.arange(4.0), "far": far})
    assert row["auroc"] is None
    assert row["reason"] == "1 rows of `far` have no finite score"


def many_labels(folder: Path, rows: int) -> None:
    """Features of 60 labels around directions of their own, `rows` training rows each; outside: between two labels."""
    draw = np.random.default_rng(0)
    centres = np.linalg.qr(draw.normal(size=(64, 64)))[0][:60]
    pairs = centres[draw.integers(0, 30, 200)] + centres[draw.integers(30, 60, 200)]
    sets = {
        "train": np.repeat(centres, rows, axis=0),
        "select": centres[draw.integers(0, 60, 100)],
        "test": centres[draw.integers(0, 60, 200)],
        "far": pairs / np.sqrt(2),
    }
    found = [
        {"artifact_id": "runs/a", "eval_set": name, "uid": f"{name}{number}", "feature": list(row),
         "label": f"l{number // rows:02d}" if name == "train" else None}
        for name, centre in sets.items()
        for number, row in enumerate(centre + draw.normal(scale=0.05, size=centre.shape))
    ]  # fmt: skip
    write_table("features", found, folder / "features.parquet")


def test_no_more_neighbours_are_asked_than_the_smallest_label_has_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many_labels(tmp_path, 6)
    logits = {"select": np.arange(100.0), "test": np.arange(200.0), "far": np.arange(200.0)}
    (row,) = detected(tmp_path, logits, scores=["knn"])
    assert (row["neighbours"], row["n_train"]) == (6, 360)  # the root of the rows alone would be 18
    assert row["auroc"] > 0.95
    assert "K is 6 instead of 50" in capsys.readouterr().out
    table = read_table("features", tmp_path / "features.parquet").to_pandas()
    train, test, far = (np.stack(table[table.eval_set == name]["feature"]) for name in ("train", "test", "far"))
    asked = separation(nearest_distance(train, test, 18), nearest_distance(train, far, 18))
    assert asked.auroc < 0.5  # worse than guessing: the fault that the limit is against
    (row,) = detected(tmp_path, logits, scores=["knn"], neighbours=5)
    assert row["neighbours"] == 5
    assert "K is" not in capsys.readouterr().out


def test_an_outside_set_that_cannot_be_had_has_its_reason_and_hides_no_other(tmp_path: Path) -> None:
    scores = {"select": np.arange(5.0), "test": np.arange(4.0), "far": np.arange(3.0)}
    gone, far = detected(tmp_path, scores, outside=["gone", "far"])
    assert (gone["ood_set"], gone["auroc"], gone["n_ood"], gone["reason"]) == ("gone", None, 0, "`gone` has no rows")
    assert far["auroc"] is not None


def test_an_artifact_that_failed_has_no_rows(tmp_path: Path) -> None:
    assert detected(tmp_path, {}) == []
    assert empty("detection").num_rows == 0


def problems(root: Path, **settings: Any) -> str:
    far = {"dataset": "corpus", "split": "train", "role": "ood", "labelled": False}
    configured(root, changed(changed(STUDY, "tasks.reviews.evaluate.far", far), "detection", settings))
    return "\n".join(study_problems(load_study("small", root), load_catalogue(root)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, None),
        ({"scores": ["msp", "knn"], "outside": ["far"], "inside": "test"}, None),
        ({"outside": ["fair"]}, r"`fair`, which is no set of the task `reviews`.*far"),
        ({"inside": "far"}, "expected a labelled set of role `id`"),
        ({"outside": ["test"]}, "expected a labelled set of role `id`"),
    ],
)
def test_the_sets_of_a_detection_are_checked(tmp_path: Path, settings: dict[str, Any], told: str | None) -> None:
    import re

    found = problems(tmp_path, **settings)
    assert found == "" if told is None else re.search(told, found, re.S), found


def test_a_study_that_asks_for_detection_runs_its_jobs_and_trains_nothing(project: Project) -> None:
    runs = {
        f"runs/reviews/smoke_encoder/{method}/default/s{seed}"
        for method in ("vanilla", "dps_dense", "linear_probe")
        for seed in (0, 1)
    }
    soups = {f"soups/reviews/smoke_encoder/{family}-vanilla-default" for family in ("uniform", "greedy")}
    asked = (
        "detection: {scores: [energy, mahalanobis, knn], train_rows: 120, resamples: 50,"
        " likelihood: {objective: masked, tokens: 6, training: {steps: 5}}}\nsoups:"
    )
    language = {"likelihood/reviews/smoke_encoder"}
    project.edit("config/studies/smoke.yaml", "soups:", asked)
    tables = {"collect": {"study"}, "compare": {"study"}, "report": {"study"}}
    scored = {"adapt": language, "likelihood": language, "detect": runs | soups | language}
    assert project.stale() == {"embed": runs | soups, **scored, **tables}
    project.snakemake()
    whole = read_table("detection", project.folder / "results/smoke/tables/detection.parquet").to_pylist()
    ratios = [row for row in whole if row["artifact_kind"] == "language_model"]
    assert {row["artifact_id"] for row in ratios} == language
    assert [row["score"] for row in ratios] == ["pseudo_likelihood_ratio", "pseudo_likelihood_ratio_mean"]
    assert all(0 <= row["auroc"] <= 1 and row["forward_rows"] > 0 and row["method"] is None for row in ratios)
    table = [row for row in whole if row not in ratios]
    assert {row["artifact_id"] for row in table} == runs | soups
    assert {(row["id_set"], row["ood_set"]) for row in table} == {("in_domain", "shifted")}
    assert {row["score"] for row in table} == {"energy", "mahalanobis", "knn"}
    assert all(row["auroc_low"] <= row["auroc"] <= row["auroc_high"] for row in table)
    assert {(row["score"], row["n_train"], row["neighbours"]) for row in table} == {
        ("energy", None, None), ("mahalanobis", 120, None), ("knn", 120, 10),
    }  # fmt: skip
    assert project.stale() == {}
    project.edit("config/studies/smoke.yaml", "resamples: 50", "resamples: 60")
    assert project.stale() == {"detect": runs | soups | language, **tables}
