"""From tables and stored predictions to comparisons and standings: what is tested, in which family, on what."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results_folder import SEEDS, Folder, small_study

from ftbench import matrix
from ftbench.config.errors import FtbenchError
from ftbench.metrics.base import Predictions
from ftbench.metrics.entities import TagSequences
from ftbench.plugins import plugin, plugins
from ftbench.statistics.families import holm
from ftbench.tables.store import metadata, read_table, write_table


@pytest.fixture
def folder(tabled: Folder, tmp_path: Path) -> Folder:
    shutil.copytree(tabled.root / "results", tmp_path / "results")
    return Folder(tmp_path, tabled.study)


def kind(test: str) -> str:
    """A pair has one of three tests over seeds; they share a family."""
    return "seeds" if test in ("paired_t", "sign_flip", "none") else test


def chosen(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_every_test_is_there_for_the_leading_metric_and_seeds_alone_for_the_rest(tabled: Folder) -> None:
    rows = tabled.rows("comparisons")
    leading = chosen(rows, eval_set="test", metric="accuracy", scope="baseline", variant="a")
    assert [row["test"] for row in leading] == ["paired_t", "permutation", "aso", "mcnemar", "hierarchical"]
    assert [row["primary"] for row in leading] == [True, False, False, False, False]
    assert {row["test"] for row in chosen(rows, metric="nll")} == {"paired_t"}
    pairs = chosen(rows, scope="pairs", eval_set="far", test="hierarchical")
    assert {(row["method"], row["variant"], row["baseline"], row["baseline_variant"]) for row in pairs} == {
        ("better", "a", "better", "b"), ("better", "a", "plain", "default"), ("better", "b", "plain", "default"),
    }  # fmt: skip
    assert not chosen(rows, scope="pairs", metric="nll")


def test_every_test_finds_a_planted_difference_of_ten_points(tabled: Folder) -> None:
    rows = chosen(tabled.rows("comparisons"), eval_set="test", metric="accuracy", scope="baseline", variant="a")
    verdicts = {row["test"]: row["verdict"] for row in rows}
    # six seeds: the smallest p of flipping signs is 2/64, and Holm asks for 5 % / 8
    assert verdicts.pop("permutation") == "no evidence"
    assert set(verdicts.values()) == {"better"}
    joint = next(row for row in rows if row["test"] == "hierarchical")
    assert joint["ci_low"] < joint["difference"] < joint["ci_high"]
    assert (joint["n_examples"], joint["resamples"]) == (200, 1000)
    primary = rows[0]
    assert primary["superiority"] == 1.0
    assert primary["seeds_needed"] <= SEEDS
    assert primary["detectable"] < primary["difference"]


def test_the_joint_bootstrap_is_that_of_plain_resampling(tabled: Folder) -> None:
    """Against a loop that draws seeds and rows and counts right answers."""
    (row,) = chosen(
        tabled.rows("comparisons"),
        eval_set="far",
        metric="accuracy",
        test="hierarchical",
        scope="baseline",
        variant="b",
    )
    right = {}
    for method, variant in (("better", "b"), ("plain", "default")):
        for seed in range(SEEDS):
            run = matrix.Run("reviews", "tiny", method, variant, seed).artifact
            stored = read_table("predictions", tabled.places.path("predictions", artifact=run)).to_pylist()
            right[method, seed] = np.array([one["gold"] == one["pred"] for one in stored if one["eval_set"] == "far"])
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        index = generator.integers(0, 200, 200)
        seeds = generator.integers(0, SEEDS, SEEDS)
        means = [np.mean([right[method, seed][index].mean() for seed in seeds]) for method in ("better", "plain")]
        drawn.append(means[0] - means[1])
    low, high = np.percentile(drawn, [2.5, 97.5])
    # the ends of 1000 resamples move by some hundredths of the width
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_families_hold_one_kind_of_test_and_adjust_within(tabled: Folder) -> None:
    rows = tabled.rows("comparisons")
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["family"], []).append(row)
    assert "reviews / tiny / accuracy" in families
    assert "reviews / tiny / accuracy / all pairs / hierarchical" in families
    for members in families.values():
        assert len({(row["scope"], row["metric"], kind(row["test"])) for row in members}) == 1
        tested = [row for row in members if row["p_adjusted"] is not None]
        assert [row["p_adjusted"] for row in tested] == pytest.approx(holm([row["p_value"] for row in tested]))
        assert all(row["q_value"] <= row["p_adjusted"] + 1e-12 for row in tested)
        assert {row["family_size"] for row in members} <= {len(tested), 8}


def test_the_study_declares_family_and_pairs(folder: Folder) -> None:
    folder.study = small_study(statistics={"family": "set", "pairs": False, "adjustment": "bh", "resamples": 100})
    folder.finish()
    rows = folder.rows("comparisons")
    assert {row["scope"] for row in rows} == {"baseline"}
    assert {row["family_size"] for row in rows} == {2}
    folder.study = small_study(statistics={"family": "study", "resamples": 100})
    folder.finish()
    assert chosen(folder.rows("comparisons"), family="study", metric="accuracy")[0]["family_size"] == 6 * 8


def test_one_seed_gives_too_few_seeds_and_never_a_p_value(folder: Folder) -> None:
    folder.study = small_study(seeds=[3], soups={})
    folder.finish()
    rows = folder.rows("comparisons")
    assert rows
    assert {row["verdict"] for row in rows} == {"too few seeds"}
    assert {row["p_value"] for row in rows} == {row["p_adjusted"] for row in rows} == {None}
    assert {row["improvement"] for row in folder.rows("standings")} == {None}


def test_without_predictions_seeds_are_still_compared(folder: Folder) -> None:
    shutil.rmtree(folder.places.root / "predictions" / "runs" / "reviews" / "tiny" / "better" / "a" / "s0")
    before = folder.rows("metrics")
    folder.finish()
    write_table("metrics", before, folder.table("metrics"))
    spec = {"study": "demo", "resolved": folder.study.model_dump(mode="json")}
    inputs = {name: folder.table(name) for name in ("runs", "metrics", "forgetting")} | {"results": folder.places.root}
    folder.stage("compare", spec, inputs, {name: folder.table(name) for name in ("comparisons", "standings", "pareto")})
    rows = chosen(folder.rows("comparisons"), metric="accuracy", eval_set="test", scope="baseline")
    assert {row["test"] for row in rows if row["variant"] == "a"} == {"paired_t", "permutation", "aso"}
    assert {row["test"] for row in rows if row["variant"] == "b"} >= {"hierarchical", "mcnemar"}


def test_predictions_are_paired_by_uid_and_other_rows_are_refused(folder: Folder) -> None:
    before = chosen(folder.rows("comparisons"), test="hierarchical")
    run = matrix.Run("reviews", "tiny", "better", "a", 0)
    file = folder.places.path("predictions", artifact=run.artifact)
    table = read_table("predictions", file)
    header = {key: value for key, value in metadata(table).items() if key.endswith("labels")}
    write_table("predictions", table.take(np.random.default_rng(0).permutation(table.num_rows)), file, header)
    folder.finish()
    assert chosen(folder.rows("comparisons"), test="hierarchical") == before
    rows = table.to_pylist()
    rows[0]["uid"] = "another"
    write_table("predictions", rows, file, header)
    with pytest.raises(FtbenchError, match="uid"):
        folder.finish()


def test_standings_rank_count_failures_and_need_complete_data(folder: Folder) -> None:
    rows = {(row["role"], row["method"], row["variant"]): row for row in folder.rows("standings")}
    shifted = rows["ood", "better", "a"]
    assert (shifted["n_sets"], shifted["n_complete"], shifted["win_rate"], shifted["scale"]) == (2, 2, 1.0, "raw")
    assert shifted["iqm_low"] < shifted["iqm"] < shifted["iqm_high"]
    assert rows["ood", "plain", "default"]["mean_rank"] == 3.0
    assert rows["ood", "plain", "default"]["win_rate"] is None
    assert (shifted["n_runs"], shifted["n_failed"], shifted["failed_share"]) == (SEEDS, 0, 0.0)
    assert 0 < shifted["failed_high"] < 0.5
    run = matrix.Run("reviews", "tiny", "better", "a", 2)
    folder.places.path("run", **run.__dict__).unlink()
    folder.finish()
    rows = {(row["role"], row["method"], row["variant"]): row for row in folder.rows("standings")}
    assert (rows["ood", "better", "a"]["iqm"], rows["ood", "better", "a"]["n_runs"]) == (None, SEEDS - 1)
    assert rows["ood", "better", "b"]["iqm"] is not None
    assert {row["n_complete"] for row in rows.values()} == {0}


@pytest.mark.parametrize("name", sorted(plugins("metrics")))
def test_the_parts_of_a_metric_give_its_score_on_any_rows(name: str) -> None:
    metric = plugin("metrics", name).factory()
    generator = np.random.default_rng(1)
    labels = 2 if name == "f1" else 3
    none, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    if "sequence" in metric.kinds:
        drawn = generator.choice(["O", "B-a", "I-a", "I-b"], (2, 60, 4)).tolist()
        given: Predictions = TagSequences.of(*drawn)
    elif "regression" in metric.kinds:
        gold = generator.normal(size=60)
        given = Predictions("regression", (), whole, whole, np.zeros((0, 0)), gold, gold + generator.normal(size=60))
    elif "text" in metric.kinds:
        count = generator.integers(1, 9, 60)
        words = np.stack([generator.exponential(count), count, generator.binomial(count, 0.6)], axis=1)
        given = Predictions("text", (), whole, whole, np.zeros((0, 0)), none, none, words)
    else:
        probabilities = generator.dirichlet(np.ones(labels), 60)
        pred = np.where(generator.random(60) < 0.1, -1, probabilities.argmax(axis=1))
        given = Predictions(
            "classification", tuple("abc"[:labels]), generator.integers(0, labels, 60), pred, probabilities, none, none
        )
    parts = metric.parts(given)
    if parts is None:  # it cannot be added up over rows, and says so
        with pytest.raises(TypeError, match=f"{name} has no parts"):
            metric.from_parts(np.zeros(1), 60)
        return
    rows = generator.integers(0, 60, 60)
    sums = parts[rows].astype(np.float64).sum(axis=0)
    assert float(metric.from_parts(sums, 60)) == pytest.approx(metric.score(given.take(rows)))
