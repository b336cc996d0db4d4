"""From stored predictions to tables: scores, gaps with their reasons, comparisons."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from results_folder import LABELS, SEEDS, SETS, Folder, score_outputs, small_study, value

from ftbench import matrix
from ftbench.config.errors import FtbenchError
from ftbench.report.leaderboard import boards
from ftbench.tables.store import read_table, write_table


def test_scores_are_those_of_the_stored_labels_with_an_interval_around_them(folder: Folder) -> None:
    folder.finish()
    run = matrix.Run("reviews", "tiny", "plain", "default", 0).artifact
    stored = read_table("predictions", folder.places.path("predictions", artifact=run)).to_pylist()
    for name in SETS:
        rows = [row for row in stored if row["eval_set"] == name]
        found = value(folder, run, name, "accuracy")
        assert found["value"] == pytest.approx(np.mean([row["gold"] == row["pred"] for row in rows]))
        assert found["ci_low"] < found["value"] < found["ci_high"]
        assert (found["n"], found["unit"], found["label_map"]) == (200, "fraction", "identity")


def test_comparisons_cover_every_method_set_and_metric_but_no_soup_and_no_selection(folder: Folder) -> None:
    folder.finish()
    rows = [row for row in folder.rows("comparisons") if row["primary"] and row["scope"] == "baseline"]
    assert {(row["method"], row["variant"]) for row in rows} == {("better", "a"), ("better", "b")}
    assert {row["eval_set"] for row in rows} == set(SETS)
    assert {row["metric"] for row in rows} == {"accuracy", "f1_macro", "matthews", "nll", "brier", "ece"}
    assert {row["family_size"] for row in rows} == {8}
    for row in rows:
        assert row["n_pairs"] == SEEDS
        assert row["p_adjusted"] >= row["p_value"]


def test_a_missing_run_is_a_row_with_its_reason_and_empties_the_mean(folder: Folder) -> None:
    run = matrix.Run("reviews", "tiny", "better", "a", 2)
    folder.places.path("run", **run.__dict__).unlink()
    folder.write(
        folder.places.failure("finetune", run.artifact),
        {"stage": "finetune", "cell": run.artifact, "reason": "no space left", "at": "2025-01-01"},
    )
    log = folder.places.path("log", stage="finetune", cell=run.artifact)
    log.parent.mkdir(parents=True)
    log.write_text("error: no space left")
    results = folder.finish()
    (row,) = [row for row in folder.rows("runs") if row["run_id"] == run.artifact]
    assert (row["status"], row["error"]) == ("missing", "no space left")
    noted = {row["stage"]: row for row in folder.rows("missing") if row["artifact_id"] == run.artifact}
    assert noted["finetune"]["reason"] == "no space left"
    assert noted["finetune"]["log"] == str(log)
    assert noted["predict"]["reason"] == "waits for finetune"
    assert noted["score"]["reason"] == "waits for finetune"
    assert not [row for row in folder.rows("metrics") if row["artifact_id"] == run.artifact], (
        "scores of a run that is no longer there must not be collected"
    )
    (board,) = boards(results)
    cell = board.rows[1].cells[0]
    assert (cell.mean, cell.low, cell.n, cell.expected) == (None, None, SEEDS - 1, SEEDS)
    assert board.rows[1].shifted is None
    assert board.rows[2].cells[0].mean is not None
    compared = next(row for row in folder.rows("comparisons") if row["variant"] == "a" and row["metric"] == "accuracy")
    assert (compared["n_pairs"], compared["n_missing"], compared["mean"]) == (SEEDS - 1, 1, None)
    for name in ("index.html", "leaderboard.md"):
        assert "5 of 6 seeds" in folder.page(name)
        assert "no space left" in folder.page(name)


def test_a_run_whose_loss_left_the_numbers_is_failed_and_has_no_scores(folder: Folder) -> None:
    run = matrix.Run("reviews", "tiny", "plain", "default", 1)
    file = folder.places.path("run", **run.__dict__)
    folder.write(file, {**json.loads(file.read_text()), "status": "failed", "error": "loss not finite at step 3"})
    folder.predict_and_score(run.artifact, "run", run.method, run.variant, run.seed, empty=True)
    results = folder.finish()
    (row,) = [row for row in folder.rows("runs") if row["run_id"] == run.artifact]
    assert (row["status"], row["device"]) == ("failed", "a CPU")
    (noted,) = [row for row in folder.rows("missing") if row["artifact_id"] == run.artifact]
    assert (noted["stage"], noted["reason"]) == ("finetune", "training failed: loss not finite at step 3")
    (board,) = boards(results)
    assert board.rows[0].cells[0].mean is None
    with_it = [row for row in folder.rows("comparisons") if "plain" in (row["method"], row["baseline"])]
    assert {row["n_pairs"] for row in with_it} == {SEEDS - 1}
    assert "17 of 18 runs succeeded (1 failed)" in folder.page("index.html")


def test_damaged_and_foreign_files_are_missing_with_a_reason_and_hide_nothing_else(folder: Folder) -> None:
    first, second, third = (matrix.Run("reviews", "tiny", "plain", "default", seed) for seed in range(3))
    folder.places.path("run", **first.__dict__).write_text('{"run_id": ')
    shutil.copy(folder.places.path("run", **third.__dict__), folder.places.path("run", **second.__dict__))
    folder.places.path("metrics", artifact=third.artifact).write_bytes(b"")
    folder.finish()
    reasons = {(row["artifact_id"], row["stage"]): row["reason"] for row in folder.rows("missing")}
    assert "no JSON object" in reasons[first.artifact, "finetune"]
    assert "belongs to another cell" in reasons[second.artifact, "finetune"]
    assert "empty file" in reasons[third.artifact, "score"]
    statuses = {row["run_id"]: row["status"] for row in folder.rows("runs")}
    assert len(statuses) == 18
    assert [statuses[run.artifact] for run in (first, second, third)] == ["missing", "missing", "success"]


def test_a_study_without_any_result_still_gives_every_table_and_page(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small_study())
    folder.places.root.mkdir(parents=True)
    folder.write(
        folder.places.failure("fetch", "reviews"),
        {"stage": "fetch", "cell": "reviews", "reason": "no network"},
    )
    folder.write(folder.places.failure("fetch", "other"), {"stage": "fetch", "cell": "other", "reason": "old"})
    folder.finish()
    assert {row["status"] for row in folder.rows("runs")} == {"missing"}
    assert {row["status"] for row in folder.rows("soups")} == {"missing"}
    assert folder.rows("metrics") == folder.rows("comparisons") == folder.rows("overlap") == []
    assert ("reviews", "fetch", "no network") in {
        (row["artifact_id"], row["stage"], row["reason"]) for row in folder.rows("missing")
    }
    assert "other" not in {row["artifact_id"] for row in folder.rows("missing")}
    assert "0 of 18 runs succeeded (18 missing)" in folder.page("index.html")


def test_results_outside_the_study_are_not_collected(folder: Folder) -> None:
    folder.study = small_study(seeds=[0, 1], methods={"plain": None, "better": None}, soups={})
    folder.finish()
    assert {row["seed"] for row in folder.rows("runs")} == {0, 1}
    assert {row["artifact_kind"] for row in folder.rows("metrics")} == {"run", "base"}


def test_predictions_that_do_not_follow_from_their_logits_are_refused(folder: Folder) -> None:
    run = matrix.Run("reviews", "tiny", "plain", "default", 0)
    file = folder.places.path("predictions", artifact=run.artifact)
    rows = read_table("predictions", file).to_pylist()
    write_table("predictions", rows, file, {"labels": LABELS[::-1], "prior_labels": ["a", "b", "c"]})
    spec = {
        "artifact": run.artifact,
        "study": "demo",
        "task": "reviews",
        "model": "tiny",
        "artifact_kind": "run",
    }
    inputs = {"predictions": file, "audit": folder.places.path("audit", task="reviews")}
    outputs = score_outputs(folder.places.path("metrics", artifact=run.artifact).parent)
    with pytest.raises(FtbenchError, match="do not follow from the logits"):
        folder.stage("score", spec, inputs, outputs)
    with pytest.raises(FtbenchError, match=r"use `f1_macro`|do not follow"):
        folder.stage("score", {**spec, "metrics": ["f1"]}, inputs, outputs)


def test_a_regression_is_scored_by_its_own_metrics(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small_study())
    generator = np.random.default_rng(0)
    gold = generator.uniform(0, 5, 80)
    rows = [
        {"artifact_id": "runs/x", "eval_set": "test", "role": "id", "uid": str(number), "gold_value": score,
         "pred_value": score + error, "logits": [score + error]}
        for number, (score, error) in enumerate(zip(gold, generator.normal(0, 1, 80), strict=True))
    ]  # fmt: skip
    file = folder.places.path("predictions", artifact="runs/x")
    file.parent.mkdir(parents=True)
    write_table("predictions", rows, file, {"labels": []})
    audit = folder.places.path("audit", task="reviews")
    folder.write(
        audit,
        {"labels": [], "sets": {"test": {"role": "id", "kind": "regression", "labels": [], "map": None}}},
    )
    spec = {"artifact": "runs/x", "study": "demo", "task": "reviews", "model": "tiny", "artifact_kind": "run"}
    out = folder.places.path("metrics", artifact="runs/x")
    folder.stage("score", {**spec, "resamples": 20}, {"predictions": file, "audit": audit}, score_outputs(out.parent))
    found = {row["metric"]: row["value"] for row in read_table("metrics", out).to_pylist()}
    assert set(found) == {"pearson", "spearman", "pearson_spearman", "mse"}
    assert found["pearson_spearman"] == pytest.approx((found["pearson"] + found["spearman"]) / 2)


def test_the_stages_import_without_heavy_packages() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from ftbench.stages import score, collect, compare, report;"
        "from ftbench.plugins import plugins; plugins('metrics');"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'pyarrow', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
