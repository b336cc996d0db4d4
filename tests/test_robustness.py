"""The tables on robustness from planted scores and from stored predictions: lines, gains, worst sets and groups."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from results_folder import Folder, small_study
from scipy.special import expit

from ftbench import matrix
from ftbench.check import study_problems
from ftbench.comparing.robustness import Robustness, robustness
from ftbench.comparing.scores import arranged
from ftbench.config.load import load_catalogue, load_study
from ftbench.config.study import Study
from ftbench.report.leaderboard import boards
from ftbench.report.results import TABLES, load
from ftbench.report.shifted import in_words, robustness_grid, shift_grid
from ftbench.tables.store import checked, read_table, write_table

SEEDS = 4
STEPS = {f"steps_{number}": {"training": {"steps": number}} for number in range(1, 7)}
ROOT = Path(__file__).parents[1]


def study_with(**changes: Any) -> Study:
    methods = {"plain": {"variants": STEPS}, "better": None, "far_out": None}
    return small_study(seeds=list(range(SEEDS)), methods=methods, soups={}, **changes)


def inside_of(method: str, variant: str, seed: int) -> float:
    step = {"better": 5, "far_out": 7}.get(method) or int(variant[-1])
    return 0.58 + 0.05 * step + 0.004 * seed


def on_the_line(inside: float) -> float:
    return float(expit(-0.3 + 0.7 * np.log(inside / (1 - inside))))


def computed(study: Study, shifted: Any, inside: Any = inside_of) -> Robustness:
    """Rows from scores: in domain as `inside` says, `far` as `shifted` says, `farther` ten points below that."""
    rows = []
    for run in matrix.runs(study):
        own = inside(run.method, run.variant, run.seed)
        values = {"test": own, "far": shifted(run.method, own), "farther": shifted(run.method, own) - 0.1}
        rows += [
            {"artifact_id": run.artifact, "eval_set": name, "metric": "accuracy", "study": "demo", "task": "reviews",
             "model": "tiny", "artifact_kind": "run", "method": run.method, "variant": run.variant, "seed": run.seed,
             "role": "id" if name == "test" else "ood", "value": value, "n": 400, "higher_is_better": True,
             "unit": "fraction", "resamples": 0}
            for name, value in values.items()
        ]  # fmt: skip
    found = robustness(study, arranged(checked("metrics", rows, Path("here"))), None)
    for name, content in vars(found).items():
        checked(name, [{"study": "demo", **row} for row in content], Path("here"))
    return found


def row_of(found: Robustness, method: str, eval_set: str = "far", variant: str | None = None) -> dict[str, Any]:
    return next(
        row
        for row in found.robustness
        if (row["method"], row["eval_set"]) == (method, eval_set) and variant in (None, row["variant"])
    )


def test_a_method_above_the_line_of_the_family_has_the_planted_effective_robustness() -> None:
    def shifted(method: str, inside: float) -> float:
        return on_the_line(inside) + 0.05 * (method != "plain")

    found = computed(study_with(), shifted)
    trend = next(row for row in found.trends if row["eval_set"] == "far")
    # without noise the slight bend of a logit line on raw scores is seen
    assert trend["kind"] in ("I", "II")
    assert (trend["effective"], trend["n_points"]) == ("ok", 6 * SEEDS)
    assert trend["family"] == [f"plain/steps_{number}" for number in range(1, 7)]
    assert (trend["logit_intercept"], trend["logit_slope"]) == pytest.approx((-0.3, 0.7))
    better, plain = row_of(found, "better"), row_of(found, "plain", variant="steps_2")
    assert better["effective"] == pytest.approx(0.05)
    assert better["effective_low"] <= better["effective"] + 1e-9
    assert plain["effective"] == pytest.approx(0, abs=1e-9)
    assert (better["extrapolated"], row_of(found, "far_out")["extrapolated"]) == (False, True)
    assert (better["n_runs"], better["examples"], better["value"]) == (SEEDS, False, pytest.approx(better["value"]))


def test_relative_robustness_is_the_paired_difference_from_the_baseline() -> None:
    found = computed(study_with(), lambda method, inside: inside - 0.2 + 0.03 * (method == "better"))
    # the baseline is the first variant of `plain` by name, one step of the line
    expected = np.mean([inside_of("better", "", seed) - inside_of("plain", "steps_1", seed) for seed in range(SEEDS)])
    better = row_of(found, "better")
    assert better["relative"] == pytest.approx(expected + 0.03)
    assert better["relative_low"] == pytest.approx(better["relative"]) == pytest.approx(better["relative_high"])
    assert "relative" not in row_of(found, "plain", variant="steps_1")


def test_the_worst_set_is_the_shifted_one_with_the_lowest_mean() -> None:
    found = computed(study_with(), lambda _, inside: inside - 0.2)
    worst = {row["eval_set"] for row in found.robustness if row["worst_set"]}
    assert worst == {"farther"}
    assert row_of(found, "better", "farther")["worst_set"]


def test_where_there_is_no_expectation_the_reason_is_told() -> None:
    def valley(method: str, inside: float) -> float:
        return 0.5 + abs(inside - 0.75)

    found = computed(study_with(), valley)
    trend = next(row for row in found.trends if row["eval_set"] == "far")
    assert (trend["kind"], trend["slope"], trend["second_slope"]) == (
        "III",
        pytest.approx(-1, abs=0.1),
        pytest.approx(1, abs=0.1),
    )
    assert trend["knee"] == pytest.approx(0.75, abs=0.02)
    assert "type III" in trend["effective_reason"]
    better = row_of(found, "better")
    assert (better.get("effective"), better["effective_state"]) == (None, "not_applicable")
    narrow = computed(study_with(robustness={"family": ["better"]}), valley)
    assert "spans 1.2 points" in narrow.trends[0]["effective_reason"]
    assert narrow.trends[0]["family"] == ["better/default"]


def test_examples_are_resampled_and_groups_found_where_predictions_are(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small_study(robustness={"groups": ["label", "domain"]}))
    folder.fill()
    run = matrix.Run("reviews", "tiny", "better", "a", 0).artifact
    stored = read_table("predictions", folder.places.path("predictions", artifact=run)).to_pylist()
    rows = [
        {"uid": row["uid"], "eval_set": row["eval_set"], "label": row["gold"],
         "aux": json.dumps({"domain": "small" if number % 40 == 0 else "odd" if number % 2 else "even"})}
        for number, row in enumerate(stored)
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), folder.places.path("evaluation", task="reviews"))
    folder.finish()
    groups = [row for row in folder.rows("groups") if (row["method"], row["eval_set"]) == ("plain", "far")]
    assert {(row["scheme"], row["group"]) for row in groups} == {
        ("label", "no"), ("label", "yes"), ("domain", "odd"), ("domain", "even"), ("domain", "small"),
    }  # fmt: skip
    odd = next(row for row in groups if row["group"] == "odd")
    members = {row["uid"] for row in rows if row["eval_set"] == "far" and json.loads(row["aux"])["domain"] == "odd"}
    shares = []
    for seed in range(6):
        artifact = matrix.Run("reviews", "tiny", "plain", "default", seed).artifact
        table = read_table("predictions", folder.places.path("predictions", artifact=artifact)).to_pylist()
        shares.append(np.mean([row["gold"] == row["pred"] for row in table if row["uid"] in members]))
    assert (odd["accuracy"], odd["n"], odd["n_runs"]) == (pytest.approx(np.mean(shares)), len(members), 6)
    small = next(row for row in groups if row["group"] == "small")
    assert small["n"] < 10
    assert not small["worst"]
    row = next(r for r in folder.rows("robustness") if (r["method"], r["eval_set"]) == ("plain", "far"))
    worst = min((one for one in groups if one["n"] >= 10), key=lambda one: one["accuracy"])
    assert row["worst_group"] == f"{worst['scheme']}={worst['group']}"
    assert row["worst_group_value"] == worst["accuracy"]
    better = next(r for r in folder.rows("robustness") if (r["variant"], r["eval_set"]) == ("a", "far"))
    compared = next(
        r for r in folder.rows("comparisons")
        if (r["variant"], r["eval_set"], r["metric"], r["test"], r["scope"])
        == ("a", "far", "accuracy", "hierarchical", "baseline")
    )  # fmt: skip
    assert better["examples"]
    assert better["relative"] == pytest.approx(compared["difference"])
    # the same interval by another route, with other draws
    width = compared["ci_high"] - compared["ci_low"]
    assert (better["relative_low"], better["relative_high"]) == pytest.approx(
        (compared["ci_low"], compared["ci_high"]), abs=0.15 * width
    )


def test_unknown_families_and_groups_are_refused_with_a_suggestion(tmp_path: Path) -> None:
    loaded, catalogue = load_study("demo", ROOT), load_catalogue(ROOT)
    wanted = type(loaded.study.robustness)(family=["vanila", "dps_mix/default"], groups=["label", "domian"])
    study = loaded.study.model_copy(update={"robustness": wanted})
    found = study_problems(type(loaded)(loaded.name, loaded.file, study), catalogue)
    assert len(found) == 2
    assert "Did you mean `vanilla`?" in found[0]
    assert "`domian`" in found[1]


def test_the_report_says_in_words_and_numbers_what_the_tables_say(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small_study())
    folder.fill()
    near = {"task": "reviews", "eval_set": "far", "role": "ood", "train_rows": 500, "eval_rows": 200, "exact_rows": 2,
            "exact_share": 0.01, "near_rows": 30, "near_share": 0.15}  # fmt: skip
    write_table("overlap", [near], folder.places.path("overlap", task="reviews"))
    results = folder.finish()
    text = html.unescape(folder.page("index.html"))
    assert "Shift and robustness" in text
    assert "overlaps the training rows" in text
    (sentence,) = [one for one in in_words(results, "reviews") if one.startswith("`farther`")]
    assert sentence == (
        "`farther`: the runs of the family do not show how scores follow those in domain (6 points; a knee needs 5 on"
        " each side)."
    )
    assert sentence.replace("`", "") in text.replace("<code>", "").replace("</code>", "")
    (board,) = boards(results)
    shown = dict(shift_grid(results, board).rows)["far"]
    drop = next(row["drop"] for row in results.shift if row["eval_set"] == "far")
    assert shown[1].text == f"{100 * drop:+.1f}"
    gains = robustness_grid(results, board)
    assert [title.name for title in gains.titles] == ["far", "farther"]
    assert "relative" in dict(gains.rows)["better/a"][0].note
    assert folder.places.path("report", page="trends.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_an_older_version_is_shown_without_the_tables_that_came_later(tmp_path: Path) -> None:
    folder = Folder(tmp_path, small_study(soups={}))
    folder.fill()
    folder.finish()
    for name in ("shift", "trends", "robustness"):
        folder.table(name).unlink()
    results = load("demo", folder.study, {name: folder.table(name) for name in TABLES})
    assert (results.shift, results.trends, results.robustness) == ([], [], [])
