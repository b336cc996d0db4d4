"""Prior tasks that would make a wrong number: each is refused with file, key, what was found and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from configured import DATASETS, STUDY, changed, configured
from data_stages import cut, fetched, prepared, rows
from prior_rows import tiny_prior
from test_conformance import settings, tiny_model
from test_split_audit import audited, evaluation_set

from ftbench.check import study_problems
from ftbench.config.errors import FtbenchError
from ftbench.config.load import load_catalogue, load_study
from ftbench.methods.rehearsal import Rehearsal
from ftbench.training.method import Context

SAME = {"dataset": "reviews", "pool": "train", "evaluation": "test"}
FLOW = {"flow": {"settings": {"head": "prior"}}}


def problems(root: Path, study: dict[str, Any], datasets: dict[str, Any] | None = None) -> list[str]:
    configured(root, study, datasets)
    return study_problems(load_study("small", root), load_catalogue(root))


@pytest.mark.parametrize(
    ("prior", "select", "key", "found", "expected"),
    [
        ({"pool": "test", "evaluation": "validation"}, {}, "prior.pool",
         "`test` of `reviews`, which `tasks.reviews.evaluate.test` evaluates", "the pool is trained on"),
        ({"pool": "test", "evaluation": "test"}, {}, "prior.evaluation", "the pool itself", "never trained on"),
        ({"pool": "test", "evaluation": "train"}, {}, "prior.evaluation",
         "`train` of `reviews`, the split of `tasks.reviews.train`", "no run is trained or selected on"),
        ({"pool": "train", "evaluation": "validation"}, {"split": "validation"}, "prior.evaluation",
         "the split of `tasks.reviews.select`", "no run is trained or selected on"),
        ({"pool": "validation", "evaluation": "test"}, {"split": "validation"}, "prior.pool",
         "`validation` of `reviews`, which `tasks.reviews.select` selects on", "the pool is trained on"),
    ],
)  # fmt: skip
def test_a_prior_set_that_is_another_set_of_the_study_is_refused(
    tmp_path: Path, prior: dict[str, Any], select: dict[str, Any], key: str, found: str, expected: str
) -> None:
    study = changed(changed(STUDY, "prior", {"dataset": "reviews", **prior}), "tasks.reviews.select", select)
    lines = [line for line in problems(tmp_path, study) if key in line and found in line]
    assert len(lines) == 1, lines
    assert "small.yaml" in lines[0]
    assert expected in lines[0]


def test_the_same_data_set_with_splits_of_its_own_is_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, changed(STUDY, "prior", SAME)) == []


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (SAME, None),
        ({"dataset": "topics"}, "the labels ['people', 'place'], and ['negative', 'positive'] of `reviews`"),
        ({"dataset": "swapped"}, "the labels ['positive', 'negative'], and ['negative', 'positive'] of `reviews`"),
        ({"dataset": "scores", "pool": "train", "evaluation": "test"}, "no labels (regression)"),
        ({"dataset": "corpus", "objective": "masked", "trained": "checkpoint", "pool": "train",
          "evaluation": "held_out"}, "no labels (text)"),
    ],
)  # fmt: skip
def test_a_prior_head_that_shall_judge_rows_with_other_labels_is_refused_before_anything_runs(
    tmp_path: Path, prior: dict[str, Any], expected: str | None
) -> None:
    swapped = {**DATASETS["topics"], "labels": {"positive": "p", "negative": "n"}}
    datasets = changed({**DATASETS, "swapped": swapped}, "corpus.splits", {"train": {}, "held_out": {}})
    study = changed(changed(STUDY, "methods", {"vanilla": {}, **FLOW}), "prior", prior)
    found = problems(tmp_path, study, datasets)
    if expected is None:
        assert found == []
        return
    (line,) = found
    for part in ("small.yaml", "methods.flow", expected, "no map for a head", "Use `head: linear_probe`"):
        assert part in line


TEXT = {"dataset": "corpus", "objective": "masked", "trained": "checkpoint", "pool": "train", "evaluation": "held_out"}


@pytest.mark.parametrize(
    ("method", "prior", "found", "expected"),
    [
        ({"rehearsal": {"settings": {"bins": "aux", "aux": "genre"}}}, {}, "`aux: genre`",
         "one of length, label, topic"),
        ({"rehearsal": {"settings": {"bins": "aux", "aux": "label"}}}, TEXT, "`aux: label`", "one of length."),
        ({"rehearsal": {"settings": {"bins": "cluster"}}}, {}, "without clusters", "`prior.clusters`"),
        ({"rehearsal": {"settings": {"ratio": 0.5}}}, {"rows": 15}, "rehearse 16 rows, of a pool of 15",
         "Lower `ratio`"),
        ({"der": {"settings": {"bins": "none"}}}, TEXT, "plain text", "a labelled one"),
        ({"rehearsal": {"settings": {"sampler": "mir"}, "training": {"processes": 2}}}, {}, "`training.processes: 2`",
         "`processes: 1`, or another sampler"),
    ],
)  # fmt: skip
def test_what_a_method_wants_of_the_prior_set_is_asked_before_anything_runs(
    tmp_path: Path, method: dict[str, Any], prior: dict[str, Any], found: str, expected: str
) -> None:
    datasets = changed(DATASETS, "topics.fields.aux", {"topic": "subject"})
    datasets = changed(datasets, "corpus.splits", {"train": {}, "held_out": {}})
    study = changed(changed(STUDY, "methods", method), "prior", {"dataset": "topics", **prior})
    (line,) = problems(tmp_path, study, datasets)
    (name,) = method
    for part in ("small.yaml", f"key `methods.{name}`", found, expected):
        assert part in line


@pytest.mark.parametrize(
    ("settings", "prior"),
    [
        ({"bins": "aux", "aux": "topic"}, {}),
        ({"bins": "cluster"}, {"clusters": 4}),
        ({"ratio": 0.5}, {"rows": 16}),
        ({"sampler": "none", "bins": "cluster"}, {}),  # nothing is rehearsed
    ],
)
def test_a_prior_set_that_has_what_is_asked_for_is_no_problem(
    tmp_path: Path, settings: dict[str, Any], prior: dict[str, Any]
) -> None:
    datasets = changed(DATASETS, "topics.fields.aux", {"topic": "subject"})
    study = changed(STUDY, "methods", {"rehearsal": {"settings": settings}})
    assert problems(tmp_path, changed(study, "prior", {"dataset": "topics", **prior}), datasets) == []


def test_rows_of_an_evaluation_set_that_stand_in_the_pool_are_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under another name, as a set of its own: no key tells them, their texts do."""
    task, other = tmp_path / "task", tmp_path / "other"
    labels = ["negative", "positive"]
    test = pa.concat_tables([rows(4, labels, text="Topic"), rows(6, labels, text="new")])
    prepared(fetched(task, {"train": rows(60, labels), "test": test}))
    cut(task, select={"rows": 12})
    prepared(fetched(other, {"pool": rows(20, ["people", "place"], text="topic"),
                             "evaluation": rows(8, ["people", "place"], text="else")}),
             labels={"people": "people", "place": "place"})  # fmt: skip
    sets = {
        "test": evaluation_set(split="test"),
        "old": evaluation_set(dataset="topics", split="evaluation", role="prior", labels=["people", "place"]),
    }
    files = {"reviews": task / "prepared.parquet", "topics": other / "prepared.parquet"}
    capsys.readouterr()
    _, overlap, _ = audited(task, sets, files, prior_pool="pool", prior_labels=["people", "place"])
    counted = {name: row["pool_rows"] for name, row in overlap.items()}
    assert counted == {"select": 0, "test": 4, "old": 0}
    assert "4 rows of `test` also stand in the rehearsal pool" in capsys.readouterr().out


def ready(config: dict[str, Any], prior: dict[str, Any], **training: Any) -> None:
    model = tiny_model()
    context = Context(model=model, training=settings(**training), kind="classification", seed=0)
    context.prior = tiny_prior(model, **prior)
    Rehearsal(Rehearsal.Config(**config)).ready(context)


@pytest.mark.parametrize(
    ("config", "prior", "batch", "parts"),
    [
        # a step of 8 new rows asks for 8 rehearsed ones
        ({"ratio": 0.5, "pool": "all"}, {"rows": 7}, 8,
         ("found 7 rows", "a step asks for 8", "Lower `ratio`", "`prior.pool`")),
        ({"ratio": 0.5, "pool": "all", "budget": "swap"}, {"rows": 3}, 8,
         ("found 3 rows", "a step asks for 4", "Lower `ratio`", "`prior.pool`")),
        ({"sampler": "mix_cd"}, {"rows": 9, "correct": np.zeros(9, dtype=bool)}, 8,
         ("9 rows, all wrong under the model before fine-tuning", "`prior.training`", "`pool: all`")),
        ({"pool": "all"}, {"rows": 9, "losses": np.array([np.nan] + [0.1] * 8)}, 8,
         ("found losses that are not numbers", "make the prior samples again")),
    ],
)  # fmt: skip
def test_a_pool_that_cannot_serve_is_refused_before_the_first_step(
    config: dict[str, Any], prior: dict[str, Any], batch: int, parts: tuple[str, ...]
) -> None:
    with pytest.raises(FtbenchError) as error:
        ready(config, prior, batch_size=batch)
    for part in parts:
        assert part in str(error.value)


def test_a_pool_of_just_a_step_is_enough() -> None:
    ready({"ratio": 0.5, "pool": "all"}, {"rows": 8}, batch_size=8)
