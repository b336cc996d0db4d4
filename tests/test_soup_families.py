"""Families of runs in a study: which runs they hold, how their cells are named, and what a new run touches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from configured import STUDY, changed, configured

from ftbench import matrix
from ftbench.check import study_problems
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.config.study import Study
from ftbench.plan import Plan

METHODS = {"vanilla": {"variants": {"a": {}, "b": {}}}, "dps_dense": None}


def study(over: str, **more: Any) -> dict[str, Any]:
    """Two seeds of three settings, with a soup, an ensemble and a path over them."""
    family = {"over": over, **more}
    return {
        **STUDY, "methods": METHODS, "soups": {"mixed": {"recipe": "uniform", **family}},
        "ensembles": {"mixed": {**family}}, "paths": {"mixed": {**family}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ("seeds", {"mixed-vanilla-a": 2, "mixed-vanilla-b": 2, "mixed-dps_dense-default": 2}),
        ("variants", {"mixed-vanilla": 4, "mixed-dps_dense": 2}),
        ("methods", {"mixed": 6}),
        ("tasks", {"mixed-vanilla-a": 2, "mixed-vanilla-b": 2, "mixed-dps_dense-default": 2}),
    ],
)
def test_a_family_holds_the_runs_that_it_is_over(over: str, expected: dict[str, int]) -> None:
    loaded = Study.model_validate(study(over))
    for cells in (matrix.soups(loaded), matrix.ensembles(loaded), matrix.lines(loaded)):
        assert {cell.name: len(cell.ingredients) for cell in cells} == expected


def test_a_family_over_tasks_is_judged_on_each_of_them_with_the_runs_of_all(tmp_path: Path) -> None:
    content = changed(study("tasks", methods=["dps_dense"]), "tasks.again", STUDY["tasks"]["reviews"])
    cells = list(matrix.soups(Study.model_validate(content)))
    assert [cell.task for cell in cells] == ["reviews", "again"]
    assert {run.task for run in cells[0].ingredients} == {"reviews", "again"}
    assert cells[0].ingredients == cells[1].ingredients
    other = {
        "train": {"dataset": "topics", "split": "pool"},
        "evaluate": {"x": {"dataset": "topics", "split": "evaluation", "role": "id"}},
    }
    root = configured(tmp_path, study=changed({**content, "prior": None, "paths": {}}, "tasks.other", other))
    problems = study_problems(load_study("small", root), load_catalogue(root))
    assert any("soups.mixed.over" in line and "tasks with the same labels" in line for line in problems)


def test_names_that_fall_together_are_told(tmp_path: Path) -> None:
    content = study("variants", methods=["vanilla"])
    content["soups"]["mixed-vanilla"] = {"recipe": "greedy", "over": "methods"}
    root = configured(tmp_path, study=content)
    problems = study_problems(load_study("small", root), load_catalogue(root))
    assert any("would both be named `mixed-vanilla`" in line for line in problems)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("soups.mixed.over", "seed", "'seeds', 'variants', 'methods' or 'tasks'"),
        ("ensembles.mixed.mean", "logit", "'logits' or 'probabilities'"),
        ("paths.mixed.points", 2, "3"),
        ("paths.mixed.methods", ["nobody"], "`nobody` is none"),
        ("init", "per_seed", "`init: shared` with soups and paths"),
    ],
)
def test_a_mistake_in_a_family_is_told(tmp_path: Path, path: str, value: Any, expected: str) -> None:
    root = configured(tmp_path, study=changed(study("variants"), path, value))
    with pytest.raises(FtbenchError) as caught:
        load_study("small", root)
    assert expected in str(caught.value)


def test_a_set_that_a_path_cannot_walk_on_is_told(tmp_path: Path) -> None:
    root = configured(tmp_path, study=changed(study("variants"), "paths.mixed.sets", ["select", "tset"]))
    problems = study_problems(load_study("small", root), load_catalogue(root))
    assert any("paths.mixed.sets" in line and "`tset`" in line and "Did you mean `test`" in line for line in problems)


def planned(root: Path) -> dict[tuple[str, str], str]:
    """The command of every job, which Snakemake compares between runs."""
    plan = Plan(load_study("small", root), load_catalogue(root))
    return {(job.stage, job.cell): plan.command(job) for job in plan.jobs()}


def test_a_new_variant_makes_its_own_runs_and_the_families_that_hold_it_and_nothing_else(tmp_path: Path) -> None:
    content = study("variants")
    before = planned(configured(tmp_path / "a", study=content))
    after = planned(configured(tmp_path / "b", study=changed(content, "methods.vanilla.variants.c", {})))
    touched = {job for job, command in after.items() if before.get(job) != command}
    runs = {f"runs/reviews/tiny/vanilla/c/s{seed}" for seed in (0, 1)}
    expected = {(stage, run) for stage in ("finetune", "predict", "score") for run in runs}
    expected |= {("soup", "soups/reviews/tiny/mixed-vanilla"), ("path", "paths/reviews/tiny/mixed-vanilla")}
    expected |= {("ensemble", "ensembles/reviews/tiny/mixed-vanilla")}
    # prediction and scores of the soup follow from its new weights; their own settings are the same
    assert {job for job in touched if job[0] not in ("collect", "compare", "report")} == expected
    assert set(before) <= set(after)
