"""A study with attacks through the real graph: its tables, what is stale afterwards, and what is refused before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from configured import DATASETS, STUDY, changed, configured
from project import Project, copied

from ftbench.check import study_problems
from ftbench.config.load import load_catalogue, load_study
from ftbench.plan import Plan
from ftbench.status import cells

ATTACKED = """
title: Attacked
seeds: [0, 1]
models: [smoke_encoder]
tasks:
  reviews:
    train: {dataset: smoke_reviews}
    select: {rows: 60}
    evaluate:
      in_domain: {dataset: smoke_reviews, split: test, role: id}
    metrics: [accuracy]
training: {steps: 40, batch_size: 32, learning_rate: 0.01, max_length: 32}
methods:
  vanilla: {}
  linear_probe: {}
attacks:
  misspelt: {use: deep_word_bug, rows: 16, shards: 2, seeds: [1], transfer: true}
  typing: {use: pruthi, rows: 8, seeds: [0], methods: [vanilla], run_seeds: [1], settings: {budget: 40}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    found = copied(tmp_path_factory.mktemp("attacks") / "ftbench")
    (found.folder / "config" / "studies" / "smoke.yaml").write_text(ATTACKED)
    found.snakemake()
    return found


def table(project: Project, name: str) -> pd.DataFrame:
    return pd.read_parquet(project.results / "tables" / f"{name}.parquet")


def test_every_artifact_is_attacked_on_the_same_rows_and_counted_right(project: Project) -> None:
    assert table(project, "missing").empty
    attacks, scores = table(project, "attacks"), table(project, "attack_scores")
    misspelt = attacks[attacks.attack == "misspelt"]
    assert misspelt.groupby(["artifact_id", "attack_seed"]).size().tolist() == [16] * 4
    assert misspelt.uid.nunique() == 16
    assert attacks[attacks.attack == "typing"].groupby("artifact_id").size().to_dict() == {
        "runs/reviews/smoke_encoder/vanilla/default/s1": 8
    }
    predictions = pd.read_parquet(
        project.results / "predictions/runs/reviews/smoke_encoder/vanilla/default/s0/predictions.parquet"
    ).set_index("uid")
    mine = misspelt[misspelt.artifact_id.str.endswith("vanilla/default/s0")]
    assert (mine.pred_before.to_numpy() == predictions.loc[mine.uid, "pred"].to_numpy()).all()
    for row in scores.itertuples():
        rows = attacks[
            (attacks.artifact_id == row.artifact_id)
            & (attacks.attack == row.attack)
            & (attacks.attack_seed == row.attack_seed)
        ]
        counted = rows.status.value_counts()
        kept = counted.get("failed", 0) + counted.get("budget", 0)
        assert row.n == len(rows) == row.skipped + row.success + kept
        assert row.original_accuracy == pytest.approx((rows.pred_before == rows.gold).mean())
        assert row.accuracy_under_attack == pytest.approx(kept / len(rows))
        assert row.success_rate == pytest.approx(row.success / (row.success + kept))
        assert row.mean_queries == pytest.approx(rows[rows.status != "skipped"].queries.mean())
    assert scores.success.sum() > 0
    assert (attacks[attacks.attack == "typing"].queries <= 40).all()
    assert set(attacks[attacks.status == "success"].n_changed) - {0}
    tests = table(project, "attack_comparisons")
    assert set(tests.test) >= {"mcnemar"}
    assert set(tests.method) == {"linear_probe"}
    assert set(tests.verdict) == {"too few seeds"}


def test_texts_that_fool_one_artifact_are_shown_to_all_others(project: Project) -> None:
    attacks, transfer = table(project, "attacks"), table(project, "transfer")
    artifacts = set(attacks[attacks.attack == "misspelt"].artifact_id)
    assert len(artifacts) == 4
    assert set(zip(transfer.source, transfer.target, strict=True)) == {
        (one, other) for one in artifacts for other in artifacts if one != other
    }
    fooled = attacks[(attacks.attack == "misspelt") & (attacks.attack_seed == 1) & (attacks.status == "success")]
    for row in transfer.itertuples():
        texts = set(fooled[fooled.artifact_id == row.source].uid)
        places = ("predictions", "transfer")
        own, theirs = (
            pd.read_parquet(project.results / place / row.target / "predictions.parquet") for place in places
        )
        right = set(own[(own.eval_set == "in_domain") & (own.gold == own.pred)].uid)
        answers = theirs[theirs.eval_set == f"adv:misspelt:{row.source}"]
        assert set(answers.uid) == texts
        wrong = set(answers[answers.gold != answers.pred].uid)
        assert (row.n_texts, row.n, row.fooled) == (len(texts), len(texts & right), len(texts & right & wrong))


def test_a_cell_whose_attack_is_gone_is_not_done(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.delenv("FTBENCH_DATA_ROOT", raising=False)
    plan = Plan.load(project.study)
    assert {cell.state for cell in cells(plan)} == {"done"}
    place = next(iter(plan.attack_places()))
    record = plan.paths.path("attack", **place)
    away = record.rename(record.with_name("away"))  # a copy would be younger
    found = {cell.artifact: (cell.state, cell.stage) for cell in cells(plan) if cell.state != "done"}
    away.rename(record)
    assert found == {place["artifact"]: ("to do", "attack")}


def test_a_change_of_an_attack_makes_only_its_own_jobs_stale(project: Project) -> None:
    assert project.stale() == {}
    project.edit("config/studies/smoke.yaml", "{budget: 40}", "{budget: 41}")
    cell = "typing/runs/reviews/smoke_encoder/vanilla/default/s1/a0/0"
    assert project.stale() == {"attack": {cell}, "collect": {"study"}, "compare": {"study"}, "report": {"study"}}
    project.edit("config/studies/smoke.yaml", "{budget: 41}", "{budget: 40}")
    assert project.stale() == {}


ATTACKS = {"bugs": {"use": "deep_word_bug", "rows": 10}}


def problems(root: Path, study: dict[str, Any], datasets: dict[str, Any] = DATASETS) -> str:
    configured(root, study, datasets=datasets)
    return "\n".join(study_problems(load_study("small", root), load_catalogue(root)))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("use", "deep_word_bgu", "Did you mean `deep_word_bug`?"),
        ("sets", ["tset"], "key `attacks.bugs.sets`: found `tset`"),
        ("tasks", ["review"], "key `attacks.bugs.tasks`: found `review`"),
        ("methods", ["vanila"], "key `attacks.bugs.methods`: found `vanila`"),
        ("run_seeds", [77], "key `attacks.bugs.run_seeds`: found `77`"),
        ("settings", {"edit": 3}, "Did you mean `edits`?"),
        ("settings", {"stop_words": "nowhere.txt"}, "`nowhere.txt`, which is not there"),
        ("settings", {"text": "text_b"}, "which has one text"),
    ],
)
def test_an_attack_that_cannot_run_is_refused_before_anything_runs(
    tmp_path: Path, key: str, value: Any, expected: str
) -> None:
    study = {**STUDY, "attacks": ATTACKS}
    assert problems(tmp_path, study) == ""
    assert expected in problems(tmp_path, changed(study, f"attacks.bugs.{key}", value))


def test_attacks_are_for_classifications_with_the_labels_of_the_task_and_something_to_attack(tmp_path: Path) -> None:
    study = {**STUDY, "attacks": ATTACKS}
    without = {key: value for key, value in study.items() if key not in ("soups", "prior")}
    assert "no artifact that is attacked" in problems(tmp_path, changed(without, "attacks.bugs.kinds", ["soup"]))
    scores = {"train": {"dataset": "scores"}, "evaluate": {"test": {"dataset": "scores", "role": "id"}}}
    told = problems(tmp_path, {**without, "tasks": {"scores": scores}})
    assert "key `attacks.bugs.tasks`: found `scores`, a regression" in told
    moods = {"dataset": "moods", "split": "test", "role": "ood"}
    mapped = changed(changed(study, "tasks.reviews.evaluate.moods", moods), "attacks.bugs.sets", ["moods"])
    datasets = changed(DATASETS, "moods.maps", [{"to": {"negative": "bad", "positive": "good"}}])
    assert "are read through a map" in problems(tmp_path, mapped, datasets)
    assert "no set of the task `reviews` to attack" in problems(
        tmp_path, changed(study, "tasks.reviews.evaluate.test.role", "ood")
    )


def test_a_study_with_attacks_has_a_job_for_every_artifact_seed_and_shard(tmp_path: Path) -> None:
    configured(tmp_path, {**STUDY, "attacks": {"bugs": {**ATTACKS["bugs"], "shards": 2}}})
    plan = Plan(load_study("small", tmp_path), load_catalogue(tmp_path))
    jobs = [job for job in plan.jobs() if job.stage == "attack"]
    runs = [job for job in plan.jobs() if job.stage == "finetune"]
    assert len(jobs) == len(runs) * 3 * 2  # a drawing attack is sampled three times
    assert all(plan.requirements.of(job).gpu == 1 for job in jobs)
    assert {json.loads(job.spec.canonical())["shard"] for job in jobs} == {0, 1}
