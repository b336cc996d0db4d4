"""What methods cannot work with is refused by the checks of a study, with file, key, what was found and expected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from configured import MODELS, STUDY, changed, configured
from model_families import family_model
from pydantic.fields import FieldInfo

from ftbench.check import study_problems
from ftbench.check_models import model_problems
from ftbench.config.load import load_catalogue, load_study
from ftbench.methods.base import Method
from ftbench.plugins import plugins

METHODS = {name: found.factory for name, found in plugins("methods").items()}
FILE = "config/studies/small.yaml"

# method, settings, and the smallest number of steps that works
LENGTHS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("dps_dense", {}, 20),
    ("dps_dense", {"update_ratio": 0.3}, 4),
    ("dps_mix", {"update_ratio": 0.1}, 10),
    ("lt_sft", {"frozen": "hard"}, 2),
    ("lt_sft", {"frozen": "hard", "iterations": 3}, 6),
    ("lt_sft", {"frozen": "hard", "full_share": 0.9}, 5),
    ("recadam", {"midpoint_steps": 10}, 11),
    ("dsee", {"prune_share": 0.1}, 2),
)


def problems(root: Path, methods: dict[str, Any], models: dict[str, Any] | None = None, **changes: Any) -> list[str]:
    study = changed(changed(STUDY, "methods", methods), "soups", {})  # some runs cannot be averaged
    for key, value in changes.items():
        study = changed(study, key.replace("__", "."), value)
    configured(root, study, models=models)
    loaded, catalogue = load_study("small", root), load_catalogue(root)
    return study_problems(loaded, catalogue) or model_problems(loaded, catalogue)


def outside(field: FieldInfo) -> Iterator[tuple[Any, str]]:
    """Values just outside the bounds of a setting, with the words of the bound."""
    unit = next((bound.multiple_of for bound in field.metadata if isinstance(bound, MultipleOf)), 1)
    for bound in field.metadata:
        if isinstance(bound, Gt):
            yield bound.gt, f"greater than {bound.gt}"
        elif isinstance(bound, Ge):
            yield bound.ge - unit, f"greater than or equal to {bound.ge}"  # type: ignore[operator]
        elif isinstance(bound, Lt):
            yield bound.lt, f"less than {bound.lt}"
        elif isinstance(bound, Le):
            yield bound.le + unit, f"less than or equal to {bound.le}"  # type: ignore[operator]
        elif isinstance(bound, MultipleOf):
            yield bound.multiple_of + 1, f"a multiple of {bound.multiple_of}"  # type: ignore[operator]


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_outside_its_bounds_is_refused_with_its_key_and_the_bound(name: str, tmp_path: Path) -> None:
    """All settings of a method at once: first every value behind its first bound, then behind the second."""
    cases = {key: list(outside(field)) for key, field in METHODS[name].Config.model_fields.items()}
    for number in range(max(map(len, cases.values()), default=0)):
        wrong = {key: found[number] for key, found in cases.items() if number < len(found)}
        lines = problems(tmp_path, {name: {"settings": {key: value for key, (value, _) in wrong.items()}}})
        for key, (value, words) in wrong.items():
            place = f"{FILE}: key `methods.{name}.settings.{key}`: found {value!r}; expected {words}"
            assert [line for line in lines if line.endswith(place.removeprefix(FILE)) and FILE in line], (place, lines)
        assert len(lines) == len(wrong)


def test_every_share_of_every_method_is_bounded_by_nothing_and_all() -> None:
    named = {
        f"{name}.{key}": [value for value, _ in outside(field)]
        for name, factory in METHODS.items()
        for key, field in factory.Config.model_fields.items()
        if field.annotation is float and ("share" in key or "ratio" in key or key == "dropout")
    }
    assert len(named) > 20
    for key, values in named.items():
        assert len(values) == 2, key
        assert min(values) <= 0, key
        assert max(values) <= 2, key  # one above an inclusive bound of at most one


def test_every_method_that_depends_on_the_number_of_steps_has_its_smallest_one_below() -> None:
    asked = {
        name for name, factory in METHODS.items() if factory.check_steps.__func__ is not Method.check_steps.__func__
    }
    assert asked == {name for name, _, _ in LENGTHS}


@pytest.mark.parametrize(("name", "settings", "enough"), LENGTHS)
def test_a_run_without_steps_for_a_stage_is_refused_with_the_smallest_number_that_works(
    name: str, settings: dict[str, Any], enough: int, tmp_path: Path
) -> None:
    factory = METHODS[name]
    config = factory.Config(**settings)
    for steps in range(1, 40):
        assert bool(factory.check_steps(config, steps, None)) == (steps < enough), steps
    method = {name: {"settings": settings, "training": {"steps": enough - 1}}}
    (line,) = problems(tmp_path, method)
    steps = f"{enough - 1} step{'s' if enough > 2 else ''}"
    for part in (FILE, f"key `methods.{name}`", f"run of {steps}", f"expected at least {enough} steps"):
        assert part in line
    assert problems(tmp_path, {name: {"settings": settings, "training": {"steps": enough}}}) == []


@pytest.mark.parametrize(
    ("settings", "training", "told"),
    [
        ({}, {"epochs": 9}, "a run of 18 steps"),
        ({}, {"epochs": 10}, None),
        ({"ratio_of": "epoch"}, {"epochs": 50}, "an epoch of 2 steps"),
        ({"ratio_of": "epoch", "update_ratio": 0.5}, {"epochs": 1}, None),
        ({"ratio_of": "epoch"}, {"steps": 100}, "an epoch of 2 steps"),
    ],
)
def test_steps_are_counted_from_epochs_where_the_study_states_the_rows(
    settings: dict[str, Any], training: dict[str, Any], told: str | None, tmp_path: Path
) -> None:
    method = {"dps_dense": {"settings": settings, "training": {**training, "batch_size": 50}}}
    lines = problems(tmp_path, method, tasks__reviews__train__rows=100)
    assert len(lines) == (told is not None)
    assert all(str(told) in line and "expected at least 20 steps" in line for line in lines)
    assert problems(tmp_path, method) == []  # nothing says how many rows there are; the run itself refuses


@pytest.mark.parametrize(("name", "settings"), [("lt_sft", {}), ("sift", {"delayed_reference": True})])
def test_decay_of_entries_that_shall_stay_is_refused(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    (line,) = problems(tmp_path, {name: {"settings": settings}})
    for part in (FILE, f"key `methods.{name}`", "found `training.weight_decay: 0.01`", "expected 0"):
        assert part in line
    assert problems(tmp_path, {name: {"settings": settings, "training": {"weight_decay": 0.0}}}) == []


MODEL_CASES = (
    ("llama", "bitfit", {}, "found no bias in the pretrained part of LlamaFor", "expected a model with biases"),
    ("gpt2", "bitfit", {"biases": "query_and_intermediate"}, "found no bias of query layers", "expected `all`"),
    ("distilbert", "re_init", {"pooler": True}, "key `pooler`: found no pooler", "expected `null` or `false`"),
    ("bert", "re_init", {"blocks": 4}, "key `blocks`: found 4", "expected at most 3, the blocks of Bert"),
    ("roberta", "top_k_layers", {"layers": 4}, "key `layers`: found 4", "expected at most 3, the blocks of Roberta"),
)


@pytest.mark.parametrize(("family", "name", "settings", "found", "expected"), MODEL_CASES)
def test_a_model_that_a_method_cannot_work_on_is_refused_with_its_name(
    family: str, name: str, settings: dict[str, Any], found: str, expected: str, tmp_path: Path
) -> None:
    family_model(family).config.save_pretrained(tmp_path / family)  # type: ignore[operator,union-attr]
    models = {"tiny": {"title": family, "path": str(tmp_path / family)}}
    (line,) = problems(tmp_path, {"vanilla": {}, name: {"variants": {"one": {"settings": settings}}}}, models)
    for part in (FILE, f"key `methods.{name}.variants.one`, model `tiny`", found, expected):
        assert part in line
    assert problems(tmp_path, {"llrd": {}, "linear_probe": {}}, models) == []


def test_a_built_in_model_is_judged_by_its_entry_and_one_that_is_not_here_by_its_run(tmp_path: Path) -> None:
    method = {"top_k_layers": {"settings": {"layers": 3}}}
    (line,) = problems(tmp_path, method)
    assert "model `tiny`: key `layers`: found 3; expected at most 2" in line
    assert problems(tmp_path, method, changed(MODELS, "tiny.built_in.layers", 3)) == []
    assert problems(tmp_path, method, {"tiny": {"title": "gone", "path": str(tmp_path / "gone")}}) == []


def test_settings_of_a_composed_method_stand_under_the_names_of_its_parts(tmp_path: Path) -> None:
    def told(settings: dict[str, Any]) -> list[str]:
        return problems(tmp_path, {"both": {"use": ["llrd", "dps_dense"], "settings": settings}})

    assert told({"llrd": {"decay": 0.9}}) == []
    (line,) = told({"lrd": {"decay": 0.9}})
    for part in (FILE, "key `methods.both.settings`", "`lrd`", "none of the methods under `use`", "`llrd`?"):
        assert part in line
    (line,) = told({"llrd": {"decay": 2}})
    assert "key `methods.both.settings.llrd.decay`: found 2; expected less than or equal to 1" in line
