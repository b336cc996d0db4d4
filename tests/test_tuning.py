"""One budget of settings for every method: drawn in pairs, chosen by the selection rows, recorded whole."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from project import Project

from ftbench.config.errors import FtbenchError
from ftbench.config.study import Study
from ftbench.tuning import space, trials

RATES = [0.001, 0.003, 0.01, 0.03]


def study(tuning: dict[str, Any], methods: dict[str, Any] | None = None) -> Study:
    task = {"train": {"dataset": "a"}, "evaluate": {"test": {"dataset": "a", "role": "id"}}}
    return Study.model_validate(
        {"seeds": [0], "tasks": {"t": task}, "models": ["m"], "tuning": tuning,
         "methods": methods or {"vanilla": None, "dps_dense": {"settings": {"frozen": "hard"}}}}
    )  # fmt: skip


def values(wanted: Study, method: str, key: str) -> list[Any]:
    head, _, rest = key.partition(".")
    return [getattr(variant, head)[rest] for variant in trials(wanted, method).values()]


def test_every_method_gets_as_many_settings_and_no_setting_twice() -> None:
    wanted = study({"n_variants": 6, "space": {"training.learning_rate": RATES, "training.dropout": [0.0, 0.1, 0.2]}})
    for method in wanted.methods:
        tried = trials(wanted, method)
        assert list(tried) == [f"t{number}" for number in range(6)]
        assert len({variant.canonical() for variant in tried.values()}) == 6


def test_a_key_that_two_methods_search_is_drawn_alike() -> None:
    alone = {"training.learning_rate": RATES, "training.weight_decay": list(range(40))}
    spaces = {"vanilla": alone, "dps_dense": {**alone, "settings.drop_share": [0.1, 0.3, 0.5]}}
    wanted = study({"n_variants": 12, "spaces": spaces})
    for key in alone:
        assert values(wanted, "vanilla", key) == values(wanted, "dps_dense", key)
    assert len(set(values(wanted, "vanilla", "training.learning_rate"))) > 1


def test_another_seed_draws_other_settings_and_a_larger_budget_only_adds() -> None:
    spaces = {"vanilla": {"training.weight_decay": list(range(1000))}}
    draws = {
        (seed, count): values(
            study({"n_variants": count, "seed": seed, "spaces": spaces, "methods": ["vanilla"]}),
            "vanilla",
            "training.weight_decay",
        )
        for seed, count in ((0, 5), (1, 5), (0, 9))
    }
    assert draws[0, 5] != draws[1, 5]
    assert draws[0, 9][:5] == draws[0, 5]


def test_draws_are_spread_evenly_over_the_values() -> None:
    spaces = {"vanilla": {"training.learning_rate": RATES, "training.weight_decay": list(range(10_000))}}
    found = values(study({"n_variants": 200, "spaces": spaces}), "vanilla", "training.learning_rate")
    for rate in RATES:
        assert 30 <= found.count(rate) <= 70  # 50 expected; beyond these bounds lie under 0.2 % of fair draws


def test_a_grid_is_tried_whole_and_must_fit_the_budget() -> None:
    spaces = {"vanilla": {"training.learning_rate": RATES, "training.dropout": [0.0, 0.1]}}
    fitting = trials(study({"n_variants": 8, "draw": "grid", "spaces": spaces, "methods": ["vanilla"]}), "vanilla")
    assert len({variant.canonical() for variant in fitting.values()}) == 8
    with pytest.raises(FtbenchError, match="a grid of 8 settings for `vanilla`"):
        trials(study({"n_variants": 7, "draw": "grid", "spaces": spaces}), "vanilla")


def test_the_entry_stays_where_nothing_was_drawn() -> None:
    for variant in trials(study({"n_variants": 3, "space": {"training.learning_rate": RATES}}), "dps_dense").values():
        assert variant.settings["frozen"] == "hard"


def test_composed_methods_are_searched_under_their_names() -> None:
    both = {"both": {"use": ["vanilla", "dps_dense"]}}
    spaces = {"both": {"settings.dps_dense.drop_share": [0.1, 0.2]}}
    tried = trials(study({"n_variants": 2, "spaces": spaces}, both), "both")
    assert [variant.settings for variant in tried.values()] == [{"dps_dense": {"drop_share": p}} for p in (0.1, 0.2)]
    assert {"training.learning_rate", "training.epochs"} <= set(space(study({"n_variants": 2}, both), "both"))


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"training.learning_rte": [1]}, "Did you mean `learning_rate`"),
        ({"training.max_length": [16, 32]}, "expected one of learning_rate"),
        ({"learning_rate": [1]}, "`settings.KEY` or `training.KEY`"),
        ({"training.learning_rate": []}, "at least one"),
        ({}, "nothing to tune"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_with_its_key(spaces: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(FtbenchError, match=message):
        trials(study({"n_variants": 2, "spaces": {"vanilla": spaces}}), "vanilla")


def test_named_variants_and_tuning_of_one_method_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"either `methods\.vanilla\.variants` or `tuning`"):
        study({"n_variants": 2}, {"vanilla": {"variants": {"a": {}}}})


TUNED = """methods:
  vanilla: {}
  linear_probe: {}
tuning:
  n_variants: 3
  spaces:
    vanilla: {training.learning_rate: [1.0e-6, 1.0e-2, 100.0]}
    linear_probe: {training.learning_rate: [1.0e-6, 1.0e-2]}
unused_"""


@pytest.fixture
def tuned(project: Project) -> Project:
    """The small study with tuning in the place of its methods and soups."""
    text = (project.folder / "config/studies/smoke.yaml").read_text()
    kept = text.partition("methods:\n")[0]
    tuning = TUNED.removesuffix("unused_")
    (project.folder / "config/studies/smoke.yaml").write_text(kept + tuning)
    project.snakemake()
    return project


def test_the_runs_use_the_setting_that_the_selection_rows_chose(tuned: Project) -> None:
    table = pd.read_parquet(tuned.results / "tables" / "tuning.parquet")
    assert table.groupby("method").size().to_dict() == {"linear_probe": 2, "vanilla": 3}
    runs = pd.read_parquet(tuned.results / "tables" / "runs.parquet")
    for method, tried in table.groupby("method"):
        best = tried.sort_values("mean_score", ascending=False, kind="stable").iloc[0]
        assert tried[tried.chosen].trial.tolist() == [best.trial]
        own = runs[runs.method == method]
        assert set(own.variant) == {"tuned"}
        assert set(own.trial) == {best.trial}
        log = pd.read_parquet(tuned.results / own.run_id.iloc[0] / "train.parquet")
        rate = json.loads(best.settings_json)["training"]["learning_rate"]
        assert log.learning_rate.max() == pytest.approx(rate)
    assert not list((tuned.results / "tuning").rglob("*.safetensors"))
    # no trial was ever predicted: nothing of the choice can come from test rows
    assert not [path for path in (tuned.results / "predictions").rglob("*") if "tuning" in path.parts]
    assert tuned.stale() == {}


def test_a_new_value_retrains_its_trial_and_what_the_choice_feeds(tuned: Project) -> None:
    tuned.edit("config/studies/smoke.yaml", "linear_probe: {training.learning_rate: [1.0e-6, 1.0e-2]}",
               "linear_probe: {training.learning_rate: [1.0e-6, 1.0e-2, 2.0e-2]}")  # fmt: skip
    stale = tuned.stale()
    assert all("/vanilla/" not in cell for cells in stale.values() for cell in cells)
    assert any(cell.startswith("tuning/") for cell in stale["finetune"])
