"""Configuration files: what is shipped loads, and every mistake is told with file, key and the nearest name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from configured import DATASETS, MODELS, STUDY, changed, configured
from pydantic import ValidationError

from ftbench.check import study_problems
from ftbench.config.dataset import DatasetEntry
from ftbench.config.errors import FtbenchError
from ftbench.config.load import json_schemas, load_catalogue, load_study, read_yaml
from ftbench.config.model import ModelEntry
from ftbench.config.strict import Strict
from ftbench.config.study import Study
from ftbench.plan import Plan

ROOT = Path(__file__).parents[1]
STUDIES = sorted((ROOT / "config" / "studies").glob("*.yaml"))


def refusal(root: Path) -> str:
    """The text of the error that loading the study of a project gives."""
    with pytest.raises(FtbenchError) as caught:
        load_study("small", root)
    return str(caught.value)


def problems(root: Path) -> list[str]:
    return study_problems(load_study("small", root), load_catalogue(root))


# what is shipped


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_shipped_study_has_no_problem(file: Path) -> None:
    assert study_problems(load_study(str(file), ROOT), load_catalogue(ROOT)) == []


def test_every_shipped_entry_loads_and_every_file_is_read() -> None:
    catalogue = load_catalogue(ROOT)
    files = {path.name for folder in ("datasets", "models") for path in (ROOT / "config" / folder).iterdir()}
    assert {path.name for path in catalogue.files.values()} == files
    for file in (*ROOT.glob("config/datasets/*.yaml"), *ROOT.glob("config/models/*.yaml")):
        for name in read_yaml(file):
            assert name in catalogue.datasets or name in catalogue.models


def test_every_shipped_hub_source_is_pinned_and_every_map_leads_from_labels_that_some_set_has() -> None:
    catalogue = load_catalogue(ROOT)
    spaces = [set(entry.labels) for entry in catalogue.datasets.values()]
    for name, entry in catalogue.datasets.items():
        if entry.hub is not None:
            assert len(entry.hub.revision) == 40, name
        for mapping in entry.maps:
            assert set(mapping.to) in spaces, (name, mapping.to)


def test_the_schema_file_is_what_the_types_say() -> None:
    stored = json.loads((ROOT / "config" / "schema.json").read_text())
    assert stored == json_schemas(), "run `ftbench schema` and commit config/schema.json"


# mistakes in a study


def test_the_small_study_of_these_tests_has_no_problem(tmp_path: Path) -> None:
    assert problems(configured(tmp_path)) == []


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("sedes", "seeds"),
        ("training.learning_rat", "learning_rate"),
        ("tasks.reviews.trian", "train"),
        ("tasks.reviews.train.splitt", "split"),
        ("tasks.reviews.select.metrik", "metric"),
        ("tasks.reviews.evaluate.test.roll", "role"),
        ("methods.vanilla.setings", "settings"),
        ("methods.vanilla.variants.low.trainin", "training"),
        ("prior.pol", "pool"),
        ("soups.greedy.recip", "recipe"),
    ],
)
def test_a_misspelt_key_is_told_with_its_path_and_the_nearest_key(tmp_path: Path, path: str, known: str) -> None:
    text = refusal(configured(tmp_path, changed(STUDY, path, {})))
    assert f"config/studies/small.yaml: key `{path}`: found a key that is not known" in text
    assert f"Did you mean `{known}`?" in text


def test_a_required_key_that_is_misspelt_is_one_problem(tmp_path: Path) -> None:
    study = {"sedes" if key == "seeds" else key: value for key, value in STUDY.items()}
    text = refusal(configured(tmp_path, study))
    assert "key `sedes`: found a key that is not known. Did you mean `seeds`?" in text
    assert "key `seeds`" not in text


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("methods.vanilla.training.learning_rat", 1, "learning_rate"),
        ("methods.dps_dense.settings.drop_shar", 0.5, "drop_share"),
        ("prior.training.epoch", 3, "epochs"),
        ("soups.greedy.settings.acept", "gt", "accept"),
    ],
)
def test_a_misspelt_key_inside_free_settings_is_found_by_the_check(
    tmp_path: Path, path: str, value: object, expected: str
) -> None:
    found = problems(configured(tmp_path, changed(STUDY, path, value)))
    assert any("small.yaml" in line and path in line and f"Did you mean `{expected}`?" in line for line in found), found


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("seeds", "three", "valid list"),
        ("seeds", [], "at least 1 item"),
        ("seeds", [1, 1], "every seed once"),
        ("seeds", [-1], "seeds of 0 or more"),
        ("training.learning_rate", "fast", "valid number"),
        ("training.learning_rate", -1.0, "greater than 0"),
        ("training.learning_rate", float("nan"), "finite number"),
        ("training.accumulation", 3, "`batch_size` that `accumulation` divides"),
        ("training.keep", "first", "'last' or 'best'"),
        ("tasks.reviews.evaluate", {}, "at least 1 item"),
        ("tasks.reviews.evaluate.test.role", "prior", "'id', 'ood' or 'stress'"),
        ("tasks.reviews.evaluate.train", {"dataset": "reviews", "role": "id"}, "other than `train`"),
        ("models", ["tiny", "tiny"], "every model once"),
        ("models", ["../tiny"], "pattern"),
        ("methods", {"a/b": None}, "pattern"),
        ("baseline", "sift", "`baseline` out of the study's methods"),
        ("soups.greedy.methods", ["sift"], "`sift` is none"),
        ("init", "per_seed", "`init: shared` with soups"),
        ("tasks", "reviews", "valid dictionary"),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected(tmp_path: Path, path: str, value: object, expected: str) -> None:
    text = refusal(configured(tmp_path, changed(STUDY, path, value)))
    assert "config/studies/small.yaml" in text
    assert expected in text


def test_init_is_per_seed_unless_said_so_soups_need_it_said(tmp_path: Path) -> None:
    study = {key: value for key, value in STUDY.items() if key != "init"}
    assert "`init: shared`" in refusal(configured(tmp_path, study))


def test_all_mistakes_of_a_study_are_told_at_once(tmp_path: Path) -> None:
    study = changed(changed(changed(STUDY, "sedes", [1]), "training.epochs", -1), "tasks.reviews.train.rows", "all")
    text = refusal(configured(tmp_path, study))
    assert [key in text for key in ("sedes", "training.epochs", "tasks.reviews.train.rows")] == [True] * 3
    study = changed(changed(STUDY, "models", ["tinny"]), "tasks.reviews.train.dataset", "revews")
    found = "\n".join(problems(configured(tmp_path, changed(study, "methods.vanila", {}))))
    assert [name in found for name in ("`tiny`", "`reviews`", "`vanilla`")] == [True] * 3


@pytest.mark.parametrize(
    ("path", "value", "nearest"),
    [
        ("methods.vanila", None, "vanilla"),
        ("methods.mine", {"use": ["dps_dens"]}, "dps_dense"),
        ("models", ["tinny"], "tiny"),
        ("tasks.reviews.train.dataset", "revews", "reviews"),
        ("tasks.reviews.evaluate.test.dataset", "revews", "reviews"),
        ("prior.dataset", "topic", "topics"),
        ("tasks.reviews.metrics", ["acuracy"], "accuracy"),
        ("tasks.reviews.select.metric", "acuracy", "accuracy"),
        ("soups.greedy.recipe", "gredy", "greedy"),
        ("tasks.reviews.train.split", "trian", "train"),
        ("tasks.reviews.select.split", "trian", "train"),
        ("tasks.reviews.evaluate.test.split", "tset", "test"),
        ("prior.evaluation", "evalution", "evaluation"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path, path: str, value: object, nearest: str) -> None:
    found = problems(configured(tmp_path, changed(STUDY, path, value)))
    assert any("small.yaml" in line and f"Did you mean `{nearest}`?" in line for line in found), found


def test_an_unknown_corpus_of_a_built_in_model_is_told(tmp_path: Path) -> None:
    found = problems(configured(tmp_path, models=changed(MODELS, "tiny.built_in.corpus", "corpse")))
    assert any("corpse" in line and "Did you mean `corpus`?" in line for line in found), found


@pytest.mark.parametrize("split", ["train", "validation"])
def test_evaluating_on_what_is_trained_or_selected_on_is_refused(tmp_path: Path, split: str) -> None:
    study = changed(
        changed(STUDY, "tasks.reviews.evaluate.test.split", split), "tasks.reviews.select.split", "validation"
    )
    found = problems(configured(tmp_path, study))
    assert any("evaluate.test.split" in line and "trained or selected on" in line for line in found), found


def test_selecting_on_the_training_split_is_refused(tmp_path: Path) -> None:
    found = problems(configured(tmp_path, changed(STUDY, "tasks.reviews.select.split", "train")))
    assert any("select.split" in line for line in found), found


def test_evaluating_the_prior_task_on_its_pool_or_on_plain_text_is_refused(tmp_path: Path) -> None:
    found = problems(configured(tmp_path, changed(STUDY, "prior.evaluation", "pool")))
    assert any("prior.evaluation" in line and "the pool itself" in line for line in found), found
    study = changed(STUDY, "prior", {"dataset": "corpus", "pool": "train", "evaluation": "train"})
    assert any("prior.dataset" in line and "without labels" in line for line in problems(configured(tmp_path, study)))


def test_two_soups_that_would_have_one_name_are_refused(tmp_path: Path) -> None:
    methods = {"vanilla": None, "b-vanilla": {"use": ["vanilla"]}}
    study = changed(
        changed(STUDY, "methods", methods), "soups", {"a": {"recipe": "greedy"}, "a-b": {"recipe": "greedy"}}
    )
    found = problems(configured(tmp_path, study))
    assert any("`a-b-vanilla-default`" in line for line in found), found


def test_another_label_space_needs_a_map(tmp_path: Path) -> None:
    study = changed(STUDY, "tasks.reviews.evaluate.other", {"dataset": "moods", "split": "test", "role": "ood"})
    found = problems(configured(tmp_path, study))
    assert any("evaluate.other" in line and "no map" in line and "['good', 'bad']" in line for line in found), found
    mapped = changed(DATASETS, "moods.maps", [{"to": {"negative": "bad", "positive": "good"}}])
    assert problems(configured(tmp_path, study, mapped)) == []


def test_a_map_that_misses_a_label_of_the_task_is_no_map(tmp_path: Path) -> None:
    study = changed(STUDY, "tasks.reviews.evaluate.other", {"dataset": "moods", "split": "test", "role": "ood"})
    partial = changed(DATASETS, "moods.maps", [{"to": {"negative": "bad"}}])
    assert any("no map" in line for line in problems(configured(tmp_path, study, partial)))


def test_evaluating_a_classifier_on_scores_is_refused(tmp_path: Path) -> None:
    study = changed(STUDY, "tasks.reviews.evaluate.other", {"dataset": "scores", "split": "test", "role": "ood"})
    assert any("regression" in line for line in problems(configured(tmp_path, study)))
    for metric in ("pearson", "word_loss", "entity_f1"):
        study = changed(STUDY, "tasks.reviews.metrics", [metric])
        assert any(f"found `{metric}`" in line for line in problems(configured(tmp_path, study)))


def test_steps_of_the_study_give_way_to_epochs_of_a_method(tmp_path: Path) -> None:
    from ftbench.resolve import Resolver

    study = changed(changed(STUDY, "training.steps", 100), "methods.vanilla.training", {"epochs": 2})
    root = configured(tmp_path, study)
    assert problems(root) == []
    resolver = Resolver(load_study("small", root).study, load_catalogue(root))
    training = resolver.method("reviews", "vanilla", "default")[1]
    assert (training.steps, training.epochs) == (None, 2)


def test_a_method_on_fewer_rows_is_planned_so_and_a_study_without_them_keeps_its_jobs(tmp_path: Path) -> None:
    few = {"variants": {"all": {}, "few": {"training": {"rows": 30}}}}
    root = configured(tmp_path, changed(STUDY, "methods.vanilla", few))
    jobs = [job for job in Plan.load("small", root).jobs() if job.stage == "finetune" and "vanilla" in job.cell]
    rows = {job.cell: getattr(job.spec, "train_rows", 0) for job in jobs}
    assert {cell.split("/")[-2]: count for cell, count in rows.items()} == {"all": None, "few": 30}
    assert not any("rows" in json.loads(job.spec.canonical())["training"] for job in jobs)
    study = changed(changed(STUDY, "methods.vanilla", few), "tasks.reviews.train.rows", 29)
    assert any(
        "`methods.vanilla.variants.few`: found `training.rows: 30`; expected at most the 29 training rows" in line
        for line in problems(configured(tmp_path / "fewer", study))
    )


# objects


def every_type(kind: type[Strict]) -> Iterator[type[Strict]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every_type(child)


def test_every_type_is_frozen_and_refuses_unknown_keys() -> None:
    import ftbench.plan  # noqa: F401, defines the specs of all stages
    from ftbench.plugins import KINDS, plugins

    for kind in KINDS:
        plugins(kind)
    types = set(every_type(Strict))
    assert {Study, DatasetEntry, ModelEntry} < types
    for kind in types:
        assert kind.model_config.get("frozen") is True, kind
        assert kind.model_config.get("extra") == "forbid", kind


def test_a_loaded_study_cannot_be_edited(tmp_path: Path) -> None:
    study = load_study("small", configured(tmp_path)).study
    with pytest.raises(ValidationError, match="frozen"):
        study.training.epochs = 3.0  # type: ignore[misc]


def test_equal_studies_have_equal_canonical_text_whatever_the_order_of_the_keys(tmp_path: Path) -> None:
    one = Study.model_validate(STUDY)
    other = Study.model_validate(dict(reversed(STUDY.items())))
    assert one.canonical() == other.canonical()
    assert Study.model_validate_json(one.canonical()) == one
