"""Temperatures against a grid and against the true one, tables of calibration against formulas written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from project import Project
from results_folder import Folder, score_outputs
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from ftbench import matrix
from ftbench.config.errors import FtbenchError
from ftbench.stages import score
from ftbench.statistics.temperature import LOG_BOUND, fit_temperature
from ftbench.tables.store import read_table, write_table

Values = NDArray[np.float64]
LABELS = ["a", "b", "c"]
RAN = matrix.Run("reviews", "tiny", "plain", "default", 0).artifact


def drawn(rows: int, temperature: float, seed: int) -> tuple[Values, NDArray[np.int64]]:
    """Single-precision logits, and labels drawn from the softmax of the logits at a temperature."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, 3)).astype(np.float32).astype(np.float64) * 2
    shares = softmax(logits / temperature)
    return logits, np.array([generator.choice(3, p=share) for share in shares])


def softmax(logits: Values) -> Values:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def loss(logits: Values, gold: NDArray[np.int64], temperature: float) -> float:
    return float(-np.log(softmax(logits / temperature)[np.arange(len(gold)), gold]).mean())


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_is_that_of_a_fine_grid_and_near_the_true_one(true: float) -> None:
    logits, gold = drawn(3000, true, 0)
    found = fit_temperature(logits, gold)
    grid = np.exp(np.linspace(-LOG_BOUND, LOG_BOUND, 6001))
    best = grid[np.argmin([loss(logits, gold, each) for each in grid])]
    assert found.at == "inside"
    assert found.temperature == pytest.approx(best, rel=0.0011)  # a step of the grid
    assert all(loss(logits, gold, found.temperature) <= loss(logits, gold, each) + 1e-12 for each in grid[::50])
    assert found.temperature == pytest.approx(true, rel=0.1)
    assert fit_temperature(logits + 1000.0, gold).temperature == pytest.approx(found.temperature)
    assert fit_temperature(logits * 2, gold).temperature == pytest.approx(2 * found.temperature, rel=1e-5)


@pytest.mark.parametrize(
    ("logits", "gold", "at", "log_temperature"),
    [
        ([[3.0, 0.0], [0.0, 1.0]], [0, 1], "lowest", -LOG_BOUND),  # every row right
        ([[900.0, 0.0], [0.0, 900.0]], [0, 1], "lowest", -LOG_BOUND),
        ([[3.0, 0.0], [0.0, 1.0]], [1, 0], "highest", LOG_BOUND),  # every row wrong
        ([[2.0, 2.0], [-1.0, -1.0]], [0, 1], "flat", 0.0),  # nothing to scale
        ([[1e30, 0.0]], [0], "flat", 0.0),  # certain and right at any temperature
    ],
)
def test_a_temperature_at_the_end_of_its_range_is_named(
    logits: list[list[float]], gold: list[int], at: str, log_temperature: float
) -> None:
    found = fit_temperature(np.array(logits), np.array(gold))
    assert (found.at, found.temperature) == (at, pytest.approx(np.exp(log_temperature)))


@pytest.mark.parametrize("logits", [np.zeros((0, 2)), np.array([[np.nan, 0.0]]), np.array([[np.inf, 0.0]])])
def test_logits_that_cannot_be_fitted_are_refused(logits: Values) -> None:
    with pytest.raises(ValueError, match="at least one row, and finite numbers"):
        fit_temperature(logits, np.zeros(len(logits), dtype=np.int64))


def stored(name: str, role: str, logits: Values, gold: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Rows of `predictions`."""
    return [
        {"artifact_id": "runs/a", "eval_set": name, "role": role, "uid": f"{name}{number}", "gold": LABELS[label],
         "pred": LABELS[int(row.argmax())], "logits": row.tolist()}
        for number, (row, label) in enumerate(zip(logits, gold, strict=True))
    ]  # fmt: skip


def scored(folder: Path, rows: list[dict[str, Any]], audit: dict[str, Any] | None = None) -> dict[str, Any]:
    """The tables of the stage `score`; `calibration` by set and scaling."""
    about = {"kind": "classification", "labels": LABELS, "map": None}
    sets = {row["eval_set"]: {**about, "role": row["role"]} for row in rows} | (audit or {})
    (folder / "audit.json").write_text(json.dumps({"sets": sets}))
    write_table("predictions", rows, folder / "predictions.parquet", {"labels": LABELS, "prior_labels": LABELS})
    spec = score.Spec(artifact="runs/a", study="s", task="t", model="m", artifact_kind="run", resamples=200)
    inputs = {"predictions": folder / "predictions.parquet", "audit": folder / "audit.json"}
    outputs = score_outputs(folder)
    score.run(spec, inputs, outputs)
    tables: dict[str, Any] = {name: read_table(name, file).to_pylist() for name, file in outputs.items()}
    tables["calibration"] = {(row["eval_set"], row["scaling"]): row for row in tables["calibration"]}
    return tables


def test_measures_before_and_after_scaling_are_their_formulas_on_the_logits(tmp_path: Path) -> None:
    select, test = drawn(400, 2.0, 1), drawn(700, 2.0, 2)
    tables = scored(tmp_path, stored("select", "select", *select) + stored("test", "id", *test))
    logits, gold = test
    fitted = fit_temperature(*select).temperature
    for scaling, temperature in (("none", 1.0), ("temperature", fitted)):
        row = tables["calibration"]["test", scaling]
        shares = softmax(logits / temperature)
        confidence, right = shares.max(axis=1), shares.argmax(axis=1) == gold
        assert row["temperature"] == pytest.approx(temperature, rel=1e-6)
        assert row["nll"] == pytest.approx(log_loss(gold, shares))
        # several labels: not halved
        assert row["brier"] == pytest.approx(brier_score_loss(gold, shares, labels=[0, 1, 2], scale_by_half=False))
        assert (row["accuracy"], row["confidence"]) == pytest.approx((right.mean(), confidence.mean()))
        assert row["overconfidence"] == pytest.approx(confidence.mean() - right.mean())
        inner = [(confidence > low / 15) & (confidence <= (low + 1) / 15) for low in range(15)]
        gaps = [abs(right[one].sum() - confidence[one].sum()) for one in inner]
        assert row["ece"] == pytest.approx(sum(gaps) / len(gold))
        assert row["ece_low"] < row["ece_high"]
        assert row["mce"] == pytest.approx(max(gap / one.sum() for gap, one in zip(gaps, inner, strict=True) if gap))
        assert row["bin_n"] == [one.sum() for one in inner]
        for name, curve in zip(
            ("accuracy", "confidence"), calibration_curve(right, confidence, n_bins=15), strict=True
        ):
            bins = row[f"bin_{name}"]
            np.testing.assert_allclose([value for value in bins if value is not None], curve)
            assert [value is None for value in bins] == [not one.any() for one in inner]
    before, after = (tables["calibration"]["test", scaling] for scaling in ("none", "temperature"))
    assert before["accuracy"] == after["accuracy"]
    assert after["nll"] < before["nll"]
    assert after["ece"] < before["ece"]  # overconfident by a factor of two
    assert (after["temperature_at"], after["n_select"], after["changed"]) == ("inside", 400, 0)
    metrics = {row["metric"]: row for row in tables["metrics"] if row["eval_set"] == "test"}
    for name in ("ece", "brier", "nll", "accuracy"):
        assert metrics[name]["value"] == pytest.approx(before[name])
    assert (metrics["ece"]["ci_low"], metrics["ece"]["ci_high"]) == (before["ece_low"], before["ece_high"])


def test_bins_of_equal_mass_are_those_of_sorted_rows(tmp_path: Path) -> None:
    logits, gold = drawn(15 * 40, 1.0, 3)
    row = scored(tmp_path, stored("test", "id", logits, gold))["calibration"]["test", "none"]
    shares = softmax(logits)
    order = np.argsort(shares.max(axis=1))
    gap = (shares.argmax(axis=1) == gold)[order] - shares.max(axis=1)[order]
    assert row["ece_mass"] == pytest.approx(np.abs(gap.reshape(15, 40).mean(axis=1)).mean())


def test_evaluation_rows_never_move_the_temperature(tmp_path: Path) -> None:
    select = stored("select", "select", *drawn(200, 1.5, 4))
    found = []
    for temperature in (0.5, 4.0):
        tables = scored(tmp_path, stored("test", "id", *drawn(300, temperature, 5)) + select)
        found.append({row["temperature"] for (_, scaling), row in tables["calibration"].items() if scaling != "none"})
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_a_perfect_selection_is_scaled_to_the_end_of_the_range_and_says_so(tmp_path: Path) -> None:
    logits, _ = drawn(50, 1.0, 6)
    rows = stored("select", "select", logits, logits.argmax(axis=1)) + stored("test", "id", *drawn(80, 1.0, 7))
    row = scored(tmp_path, rows)["calibration"]["test", "temperature"]
    assert (row["temperature_at"], row["temperature"]) == ("lowest", pytest.approx(np.exp(-3)))
    assert row["nll"] is not None


def test_without_a_temperature_the_raw_row_stands_and_the_other_says_why(tmp_path: Path) -> None:
    test = stored("test", "id", *drawn(60, 1.0, 8))
    broken = stored("select", "select", *drawn(20, 1.0, 9))
    broken[3] |= {"logits": [float("nan"), 0.0, 0.0], "pred": None}
    for rows, reason, count in (
        (test, "the artifact has no predictions on the selection rows", 0),
        (test + broken, "no temperature: of 20 selection rows 1 have no finite logits", 20),
    ):
        found = scored(tmp_path, rows)["calibration"]
        assert found["test", "none"]["ece"] is not None
        row = found["test", "temperature"]
        assert (row["ece"], row["temperature"], row["reason"], row["n_select"]) == (None, None, reason, count)
    row = found["select", "none"]
    assert (row["ece"], row["nll"], row["reason"]) == (
        None, None, "1 of 20 rows have no prediction, and so no confidence",
    )  # fmt: skip
    assert row["accuracy"] is not None


def test_a_prior_set_is_judged_as_predicted_and_never_scaled(tmp_path: Path) -> None:
    rows = stored("select", "select", *drawn(60, 1.0, 8)) + stored("old", "prior", *drawn(60, 1.0, 9))
    found = scored(tmp_path, rows)
    assert found["calibration"]["old", "none"]["ece"] is not None
    row = found["calibration"]["old", "temperature"]
    assert (row["ece"], row["reason"]) == (
        None,
        "the temperature is that of the task's labels, not of the prior task's",
    )
    assert {place for place, row in found["calibration"].items() if row["bin_n"]} == {
        ("select", "none"), ("select", "temperature"), ("old", "none"),
    }  # fmt: skip


@pytest.mark.parametrize("rule", ["argmax_then_merge", "sum_then_argmax"])
def test_under_a_merging_map_labels_stay_and_those_that_would_change_are_counted(tmp_path: Path, rule: str) -> None:
    logits, gold = drawn(300, 1.0, 10)
    merged = np.array([0, 1, 1])
    shares = softmax(logits)
    added = np.stack([shares[:, 0], shares[:, 1] + shares[:, 2]], axis=1)
    pred = merged[logits.argmax(axis=1)] if rule == "argmax_then_merge" else added.argmax(axis=1)
    rows = stored("far", "ood", logits, gold)
    for row, label, true in zip(rows, pred, merged[gold], strict=True):
        row |= {"pred": ["x", "y"][label], "gold": ["x", "y"][true]}
    about = {"kind": "classification", "labels": ["x", "y"], "role": "ood",
             "map": {"rule": rule, "to": {"a": "x", "b": "y", "c": "y"}}}  # fmt: skip
    select = drawn(300, 3.0, 11)
    found = scored(tmp_path, rows + stored("select", "select", *select), {"far": about})["calibration"]
    before, after = found["far", "none"], found["far", "temperature"]
    scaled = softmax(logits / after["temperature"])
    added = np.stack([scaled[:, 0], scaled[:, 1] + scaled[:, 2]], axis=1)
    assert after["confidence"] == pytest.approx(added[np.arange(300), pred].mean())
    assert after["nll"] == pytest.approx(-np.log(added[np.arange(300), merged[gold]]).mean())
    assert before["accuracy"] == after["accuracy"] == (pred == merged[gold]).mean()
    wanted = int((added.argmax(axis=1) != pred).sum()) if rule == "sum_then_argmax" else 0
    assert after["changed"] == wanted
    assert (wanted > 0) == (rule == "sum_then_argmax")
    assert after["label_map"] == rule


def test_a_regression_has_rows_that_say_why_they_are_empty(tmp_path: Path) -> None:
    rows = [
        {"artifact_id": "runs/a", "eval_set": name, "role": role, "uid": f"{name}{number}", "gold_value": number / 2,
         "pred_value": number / 3, "logits": [number / 3]}
        for name, role in (("select", "select"), ("test", "id")) for number in range(9)
    ]  # fmt: skip
    about = {"kind": "regression", "labels": [], "map": None}
    audit = {name: {**about, "role": role} for name, role in (("select", "select"), ("test", "id"))}
    found = scored(tmp_path, rows, audit)
    assert len(found["calibration"]) == 4
    for row in found["calibration"].values():
        assert (row["ece"], row["temperature"], row["brier"], row["bin_n"]) == (None, None, None, None)
        assert row["reason"] == "predictions of the kind regression have no probabilities of labels"


def test_an_artifact_that_failed_has_no_rows_and_a_strange_label_is_refused(tmp_path: Path) -> None:
    assert scored(tmp_path, []) == {"calibration": {}, "metrics": []}
    with pytest.raises(FtbenchError, match=r"select.*`?gold`?.*other"):
        scored(tmp_path, [{**row, "gold": "other"} for row in stored("select", "select", *drawn(5, 1.0, 0))])


def test_collect_joins_calibrations_and_says_which_are_lacking_or_damaged(folder: Folder) -> None:
    second, third = (RAN.replace("s0", f"s{seed}") for seed in (1, 2))
    folder.places.path("calibration", artifact=second).unlink()
    folder.places.path("calibration", artifact=third).write_bytes(b"no table")
    folder.finish()
    calibration = folder.rows("calibration")
    scored = {row["artifact_id"] for row in folder.rows("metrics")}
    assert scored - {second, third} == {row["artifact_id"] for row in calibration}
    own = {(row["eval_set"], row["scaling"]): row for row in calibration if row["artifact_id"] == RAN}
    assert len(own) == 2 * 5
    assert own["test", "temperature"]["temperature"] == own["far", "temperature"]["temperature"]
    assert own["old", "temperature"]["temperature"] is None
    base = [row for row in calibration if row["artifact_kind"] == "base"]
    assert {(row["eval_set"], row["temperature"]) for row in base} == {("old", 1.0), ("old", None)}
    reasons = {row["artifact_id"]: row["reason"] for row in folder.rows("missing") if row["stage"] == "score"}
    assert set(reasons) == {second, third}
    assert reasons[second] == "scored without its calibration, as older versions did; run the study again"
    assert "damaged" in reasons[third]


def test_calibration_reruns_scoring_and_tables_and_trains_nothing(project: Project) -> None:
    """A lost file is asked for, and an edit of the fit touches scoring alone."""
    tables = {"collect": {"study"}, "compare": {"study"}, "report": {"study"}}
    metrics = sorted((project.folder / "results/smoke/predictions").rglob("metrics.parquet"))
    artifacts = {str(file.parent.relative_to(project.folder / "results/smoke/predictions")) for file in metrics}
    lost = next(file for file in metrics if "vanilla" in str(file)).with_name("calibration.parquet")
    lost.unlink()
    one = {str(lost.parent.relative_to(project.folder / "results/smoke/predictions"))}
    assert project.stale() == {"score": one, **tables}
    project.edit("src/ftbench/statistics/temperature.py", "LOG_BOUND = 3.0", "LOG_BOUND = 2.0")
    assert project.stale() == {"score": artifacts, **tables}
