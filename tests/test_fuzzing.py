"""Mutated configuration and data files: a valid plan or an error in words, never a traceback, never a write outside.

A hundred examples here; `make faults` tries a thousand.
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from configured import DATASETS, MODELS, STUDY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ftbench.config.errors import FtbenchError
from ftbench.plan import Plan
from ftbench.stage import main

EXAMPLES = int(os.environ.get("FTBENCH_EXAMPLES", "100"))


def limits(share: int) -> settings:
    """A test's part of the examples; the same ones each time unless many are asked for."""
    return settings(
        max_examples=EXAMPLES // share, deadline=None, derandomize=EXAMPLES <= 100,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip


# what a hand or a hostile file may put where something else was meant
HOSTILE = [
    "../../outside",
    "/etc/passwd",
    "a b",
    "$(touch hacked)",
    "`touch hacked`",
    "; touch hacked",
    "{task}",
    "a/../b",
]
HOSTILE += ["..", "", "~", "*", "name\nnext", "\x00", "é", "{}", "null", "-rf", "s" * 300, "%s", "<script>"]
LEAVES = st.one_of(
    st.sampled_from(HOSTILE), st.none(), st.booleans(), st.integers(-3, 10**12), st.floats(),
    st.text(max_size=12), st.sampled_from(["reviews", "topics", "vanilla", "tiny", "train", "accuracy", "shared"]),
    st.lists(st.integers(-1, 3), max_size=3), st.dictionaries(st.sampled_from(HOSTILE[:6]), st.integers(), max_size=2),
)  # fmt: skip
PIECES = [b"\t", b"}", b": ", b"&a ", b"*a", b"!!python/object:os.system ", b"\xff", b"\n- "]
Change = tuple[str, int, Any]
KINDS = st.sampled_from(["replace", "delete", "rename", "add"])
CHANGES = st.lists(st.tuples(KINDS, st.integers(0, 200), LEAVES), min_size=1, max_size=3)


def places(value: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Every place in nested content, as its container and key."""
    found = [] if found is None else found
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    for key in keys:
        found.append((value, key))
        places(value[key], found)
    return found


def mutated(content: dict[str, Any], changes: list[Change]) -> dict[str, Any]:
    content = copy.deepcopy(content)
    for kind, number, leaf in changes:
        found = places(content)
        if not found:
            break
        container, key = found[number % len(found)]
        if kind == "replace" or isinstance(container, list):
            container[key] = leaf
        elif kind == "delete":
            del container[key]
        else:
            value = copy.deepcopy(container[key]) if kind == "add" else container.pop(key)
            container[leaf if isinstance(leaf, str | int | bool) or leaf is None else str(leaf)] = value
    return content


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project folder inside one that must stay as it is."""
    folder = tmp_path / "inner" / "project"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    yield folder
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["project"]
    assert not list(tmp_path.rglob("hacked"))


def written(root: Path, study: Any, datasets: Any, models: Any) -> None:
    for kind, content in (("studies", study), ("datasets", datasets), ("models", models)):
        file = root / "config" / kind / "small.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def assert_planned_or_refused(root: Path) -> None:
    """A plan all of whose paths lie below `results`, or an error that names what is wrong."""
    try:
        plan = Plan.load("small", root)
        jobs = list(plan.jobs())
    except FtbenchError as error:
        if not str(error).strip():
            raise
        return
    below = (root / "results" / "small").resolve()
    for job in jobs:
        words = plan.command(job)
        assert "\n" not in words or "'" in words
        for path in job.inputs.values():
            assert (root / path).resolve().is_relative_to(below) or Path(path).is_absolute(), path
        log = plan.paths.path("log", stage=job.stage, cell=job.cell)
        assert (root / log).resolve().is_relative_to(below), log
        assert (root / plan.paths.failure(job.stage, job.cell)).resolve().is_relative_to(below)
        plan.requirements.of(job)
    for path in plan.targets():
        assert (root / path).resolve().is_relative_to(below)


@limits(1)
@given(changes=CHANGES)
def test_a_mutated_study_gives_a_plan_or_an_error_in_words(project: Path, changes: list[Change]) -> None:
    written(project, mutated(STUDY, changes), DATASETS, MODELS)
    assert_planned_or_refused(project)


@limits(2)
@given(datasets=CHANGES, models=CHANGES)
def test_mutated_entries_give_a_plan_or_an_error_in_words(
    project: Path, datasets: list[Change], models: list[Change]
) -> None:
    written(project, STUDY, mutated(DATASETS, datasets), mutated(MODELS, models))
    assert_planned_or_refused(project)


@limits(4)
@given(
    number=st.integers(0, 10**6),
    piece=st.sampled_from([b"\t", b"}", b": ", b"&a ", b"*a", b"!!python/object:os.system ", b"\xff", b"\n- "]),
)
def test_a_damaged_file_is_an_error_in_words(project: Path, number: int, piece: bytes) -> None:
    written(project, STUDY, DATASETS, MODELS)
    file = project / "config" / "studies" / "small.yaml"
    content = file.read_bytes()
    place = number % len(content)
    file.write_bytes(content[:place] + piece + content[place:])
    assert_planned_or_refused(project)


COLUMNS = st.dictionaries(
    st.sampled_from(["sentence", "label", "other", "../x"]),
    st.one_of(
        st.lists(st.text(max_size=8), min_size=3, max_size=3),
        st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=3, max_size=3),
        st.lists(st.integers(-1, 2), min_size=3, max_size=3),
        st.lists(st.floats(), min_size=3, max_size=3),
        st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=2), min_size=3, max_size=3),
        st.lists(st.binary(max_size=4), min_size=3, max_size=3),
    ),
    max_size=4,
)


@limits(2)
@given(columns=COLUMNS, cut=st.one_of(st.none(), st.integers(0, 400)))
def test_a_damaged_data_file_is_read_whole_or_refused_in_words(
    project: Path, columns: dict[str, list[Any]], cut: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(project / "out", ignore_errors=True)
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    parquet.write_table(table, project / "train.parquet")
    if cut is not None:
        (project / "train.parquet").write_bytes((project / "train.parquet").read_bytes()[:cut])
    spec = '{"dataset": "x", "local": ["train"], "fields": {"text_a": "sentence"}, "label": "label"}'
    status = main(
        ["fetch", "--cell", "x", "--work", "out/work", "--spec", spec, "--inputs", "train=train.parquet",
         "--outputs", "fetched=out/fetched.parquet", "record=out/record.json"]
    )  # fmt: skip
    told = capsys.readouterr().out
    assert "Traceback" not in told, told
    if status == 0:
        assert parquet.read_table("out/fetched.parquet").num_rows == 3
    else:
        assert "error: " in told
        assert not Path("out/fetched.parquet").exists()
        assert not Path("out/record.json").exists()
