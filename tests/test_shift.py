"""How far evaluation sets are from training: measures against independent formulas, the stage, and what it flags."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results_folder import SEEDS, Folder, small_study
from scipy import stats
from scipy.spatial.distance import jensenshannon
from small_bench import make_bench

from ftbench.config.load import load_catalogue, load_study
from ftbench.plan import Plan
from ftbench.stage import execute
from ftbench.statistics import similarity
from ftbench.tables.store import read_table, write_table

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("seed", range(5))
def test_divergence_and_distances_are_those_of_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = (Counter(generator.integers(0, 12 + 5 * side, 80).tolist()) for side in range(2))
    names = sorted({**first, **second})
    p, q = (np.array([counts[name] for name in names]) / 80 for counts in (first, second))
    assert similarity.jensen_shannon(first, second) == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    assert similarity.total_variation(first, second) == pytest.approx(np.abs(p - q).sum() / 2)
    one, other = generator.poisson(9, 70).astype(float), generator.poisson(11, 50).astype(float)
    assert similarity.kolmogorov_smirnov(one, other) == pytest.approx(stats.ks_2samp(one, other).statistic)


def test_the_ends_of_every_scale() -> None:
    same, other = Counter("aab"), Counter("cd")
    for measure in (similarity.jensen_shannon, similarity.total_variation):
        assert (measure(same, same), measure(same, other), measure(same, Counter())) == (0, 1, None)
    assert similarity.out_of_vocabulary(same, Counter({"a": 3, "z": 1})) == 0.25
    assert similarity.centroid_cosine(np.eye(2), -np.eye(2)) == pytest.approx(-1)
    assert similarity.centroid_cosine(np.eye(2), np.zeros((3, 2))) is None


def test_a_domain_classifier_is_at_chance_for_one_source_and_finds_a_planted_direction() -> None:
    generator = np.random.default_rng(0)
    same = [similarity.domain_auroc(*generator.normal(size=(2, 150, 16)), seed=seed) for seed in range(6)]
    assert np.mean(np.array(same, dtype=float)) == pytest.approx(0.5, abs=0.06)
    moved = generator.normal(size=(150, 16)) + np.eye(16)[0] * 2
    found = similarity.domain_auroc(generator.normal(size=(150, 16)), moved)
    # two normals that are two deviations apart: AUROC = Phi(2 / sqrt 2)
    assert found == pytest.approx(stats.norm.cdf(2**0.5), abs=0.05)
    assert similarity.domain_auroc(np.eye(4), np.eye(4)) is None


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bench(tmp_path_factory.mktemp("bench"))


def measured(bench: Path, folder: Path, **changes: Any) -> dict[str, dict[str, Any]]:
    spec = {"task": "reviews", "model": "tiny", "rows": 50, "max_length": 8, **changes}
    files = {"train": "train.parquet", "evaluation": "evaluation.parquet", "audit": "audit.json", "base": "base.json"}
    inputs = {name: bench / file for name, file in files.items()}
    execute("shift", spec, inputs, {"similarity": folder / "similarity.parquet"}, folder / ".work", "source")
    return {row["eval_set"]: row for row in read_table("similarity", folder / "similarity.parquet").to_pylist()}


def test_the_stage_measures_every_set_the_same_way_each_time(bench: Path, tmp_path: Path) -> None:
    found = measured(bench, tmp_path)
    assert set(found) == {"select", "test", "before"}
    select, test, before = (found[name] for name in ("select", "test", "before"))
    # 40 training rows `text number N`; the selection rows have other numbers, the test rows two words in another order
    assert (select["train_words"], select["words"], select["length_distance"]) == (3, 3, 0)
    assert select["oov_share"] == pytest.approx(1 / 3)
    assert select["label_distance"] == 0
    assert (before["label_distance"], before["domain_auroc"], before["centroid_cosine"]) == (None, None, None)
    assert (test["distinct_rows"], test["embedded_rows"], before["embedded_rows"]) == (20, 20, 12)
    assert test["centroid_cosine"] < 1
    assert test["domain_auroc"] > select["domain_auroc"]
    assert measured(bench, tmp_path) == found
    few = measured(bench, tmp_path, rows=50, max_length=2)
    assert few["test"]["centroid_cosine"] != test["centroid_cosine"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = Folder(tmp_path_factory.mktemp("complete"), small_study())
    folder.fill()
    near = {"far": 0.2, "farther": None, "test": 0.005, "old": 0.5}
    rows = [
        {"task": "reviews", "eval_set": name, "role": role, "train_rows": 500, "eval_rows": 200, "exact_rows": 1,
         "exact_share": 0.005, "near_rows": None if share is None else int(200 * share), "near_share": share}
        for (name, share), role in zip(near.items(), ("ood", "ood", "id", "prior"), strict=True)
    ]  # fmt: skip
    write_table("overlap", rows, folder.places.path("overlap", task="reviews"))
    rows = [{"task": "reviews", "eval_set": "far", "role": "ood", "encoder": "tiny", "embedded_rows": 200,
             "distinct_rows": 200, "centroid_cosine": 0.7}]  # fmt: skip
    write_table("similarity", rows, folder.places.path("similarity", task="reviews"))
    folder.finish()
    return folder


def test_the_loss_of_the_baseline_is_that_of_its_seeds_with_a_t_interval(filled: Folder) -> None:
    found = {row["eval_set"]: row for row in filled.rows("shift")}
    metrics = [row for row in filled.rows("metrics") if row["method"] == "plain" and row["metric"] == "accuracy"]
    values = {(row["eval_set"], row["seed"]): row["value"] for row in metrics if row["artifact_kind"] == "run"}
    lost = np.array([values["test", seed] - values["far", seed] for seed in range(SEEDS)])
    reach = stats.t.ppf(0.975, SEEDS - 1) * lost.std(ddof=1) / SEEDS**0.5
    far = found["far"]
    assert far["drop"] == pytest.approx(lost.mean())
    assert (far["drop_low"], far["drop_high"]) == pytest.approx((lost.mean() - reach, lost.mean() + reach))
    assert (far["n_seeds"], far["baseline"], far["metric"], far["centroid_cosine"]) == (SEEDS, "plain", "accuracy", 0.7)
    assert (found["test"]["drop"], found["old"]["drop"], found["old"]["metric"]) == (None, None, None)
    assert found["test"]["id_value"] == found["test"]["value"] == pytest.approx(far["id_value"])


def test_flags_tell_of_overlap_and_of_shifts_without_a_challenge(filled: Folder, tmp_path: Path) -> None:
    flags = {row["eval_set"]: row["flags"] for row in filled.rows("shift")}
    assert flags == {"far": ["overlaps_training"], "farther": [], "test": [], "old": []}
    shutil.copytree(filled.root / "results", tmp_path / "results")
    folder = Folder(tmp_path, filled.study)
    table = read_table("metrics", folder.table("metrics"))
    easy = [
        {**row, "value": {"far": 0.81, "farther": 0.79 + 0.02 * (-1) ** (row["seed"] or 0)}.get(row["eval_set"], 0.8)}
        for row in table.to_pylist()
        if row["metric"] == "accuracy" and row["role"] in ("id", "ood")
    ]
    write_table("metrics", [{**row, "ci_low": None, "ci_high": None} for row in easy], folder.table("metrics"))
    inputs = {name: folder.table(name) for name in ("runs", "metrics", "overlap", "similarity")}
    spec = {"study": "demo", "resolved": filled.study.model_dump(mode="json")}
    folder.stage("compare", spec, inputs, {name: folder.table(name) for name in ("comparisons", "standings", "shift")})
    flags = {row["eval_set"]: row["flags"] for row in folder.rows("shift")}
    assert flags["far"] == ["no_challenge", "overlaps_training"]
    assert flags["farther"] == ["unclear_loss"]


def test_a_new_seed_or_method_leaves_the_shift_as_it_was_and_an_encoder_brings_its_own_jobs() -> None:
    loaded, catalogue = load_study("demo", ROOT), load_catalogue(ROOT)
    before = Plan(loaded, catalogue)

    def changed(**update: Any) -> Plan:
        study = loaded.study.model_copy(update=update)
        return Plan(type(loaded)(loaded.name, loaded.file, study), catalogue)

    more = changed(seeds=[*loaded.study.seeds, 7])
    assert more.job("shift", task="reviews") == before.job("shift", task="reviews")
    other = changed(shift=type(loaded.study.shift)(encoder="minilm"))
    assert {job.cell for job in other.jobs() if job.stage == "base"} == {"demo_encoder", "minilm"}
    assert other.job("shift", task="reviews").inputs["base"] == "results/demo/models/minilm/base.json"
    assert "results/demo/data/tasks/reviews/similarity.parquet" in before.collected()
