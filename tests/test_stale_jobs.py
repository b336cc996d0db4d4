"""Which jobs of the demo study an edit of the package touches: exactly those that can run the edited code."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from ftbench import fingerprint as source
from ftbench.config.load import LoadedStudy, load_catalogue
from ftbench.config.study import Study
from ftbench.fingerprint import closure
from ftbench.plan import Plan

ROOT = Path(__file__).parents[1]


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], set[str]]]:
    """`edited(module, addition)`: the jobs of the demo study whose source changes when a module does."""
    plan = Plan.load("demo", ROOT)
    shutil.copytree(ROOT / "src" / "ftbench", tmp_path / "ftbench", ignore=shutil.ignore_patterns("__pycache__"))

    @functools.cache
    def in_the_copy(module: str) -> Path | None:
        parts = module.split(".")
        if parts[0] != "ftbench":
            return None
        place = tmp_path.joinpath(*parts)
        return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)

    monkeypatch.setattr(source, "_file_of", in_the_copy)
    source.forget()

    def sources() -> dict[str, str]:
        return {f"{job.stage} {job.cell}": job.source for job in plan.jobs()}

    before = sources()

    def edit(module: str, addition: str) -> set[str]:
        file = in_the_copy(module)
        assert file is not None
        old = file.read_text()
        file.write_text(old + addition)
        source.forget()
        after = sources()
        file.write_text(old)
        source.forget()
        return {job for job in before if after[job] != before[job]}

    yield edit
    monkeypatch.undo()
    source.forget()


STATEMENT = "\n_ADDED = 1\n"


def cells(jobs: set[str], stage: str) -> set[str]:
    return {job.partition(" ")[2] for job in jobs if job.startswith(f"{stage} ")}


@pytest.mark.parametrize("method", ["vanilla", "linear_probe", "dps_dense", "dps_mix"])
def test_editing_a_method_touches_exactly_the_runs_of_that_method(
    edited: Callable[[str, str], set[str]], method: str
) -> None:
    touched = edited(f"ftbench.methods.{method}", STATEMENT)
    assert touched
    assert {job.split(" ")[0] for job in touched} == {"finetune"}
    assert {cell.split("/")[3] for cell in cells(touched, "finetune")} == {method}
    assert len(touched) == 5


def test_editing_a_soup_recipe_touches_exactly_its_soups(edited: Callable[[str, str], set[str]]) -> None:
    touched = edited("ftbench.soups.greedy", STATEMENT)
    assert {job.split(" ")[0] for job in touched} == {"soup"}
    assert {cell.split("/")[-1].split("-")[0] for cell in cells(touched, "soup")} == {"greedy"}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("ftbench.stages.report", {"report"}),
        ("ftbench.stages.score", {"score"}),
        ("ftbench.report.page", {"report"}),
        ("ftbench.statistics.paired", {"compare"}),
        ("ftbench.metrics.ece", {"score"}),
        ("ftbench.statistics.temperature", {"score"}),
        ("ftbench.report.calibrated", {"report"}),
        ("ftbench.metrics.accuracy", {"score", "compare", "finetune", "soup"}),
        ("ftbench.comparing.pairs", {"compare"}),
        ("ftbench.reading.query", set()),
        ("ftbench.metrics.spearman", set()),
        ("ftbench.training.loop", {"base", "upstream", "finetune"}),
        ("ftbench.training.masked_language", {"base"}),
        ("ftbench.data.language", {"fetch"}),
        ("ftbench.data.vocabulary", {"fetch"}),
        ("ftbench.data.sources", {"fetch"}),
        ("ftbench.cli", set()),
        ("ftbench.plan", set()),
        ("ftbench.check", set()),
        ("ftbench.stage", set()),
    ],
)
def test_editing_a_module_touches_exactly_the_stages_that_run_it(
    edited: Callable[[str, str], set[str]], module: str, stages: set[str]
) -> None:
    assert {job.split(" ")[0] for job in edited(module, STATEMENT)} == stages


def test_the_generator_touches_no_data_set_that_it_does_not_make_and_pretraining_no_model_from_elsewhere(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "config" / "models"
    folder.mkdir(parents=True)
    (folder / "here.yaml").write_text("here: {path: somewhere}\n")
    shutil.copytree(ROOT / "config" / "datasets", tmp_path / "config" / "datasets")
    catalogue = load_catalogue(tmp_path)
    study = yaml.safe_load((ROOT / "config" / "studies" / "demo.yaml").read_text()) | {
        "models": ["here"],
        "prior": None,
    }
    sets = {"dataset": "sst2", "split": "train"}, {"test": {"dataset": "sst2", "split": "validation", "role": "id"}}
    study["tasks"] = {"reviews": {"train": sets[0], "evaluate": sets[1]}}
    plan = Plan(LoadedStudy("real", tmp_path / "real.yaml", Study.model_validate(study)), catalogue)
    for job in plan.jobs():
        reached = set().union(*(closure(module) for module in (f"ftbench.stages.{job.stage}", *job.modules)))
        assert not reached & {"ftbench.data.language", "ftbench.training.masked_language"}, job.stage


def test_a_comment_touches_nothing_and_the_root_of_the_package_everything(
    edited: Callable[[str, str], set[str]],
) -> None:
    for module in ("ftbench.methods.vanilla", "ftbench.training.loop", "ftbench.config.strict"):
        assert edited(module, "\n# a remark\n") == set()
    everything = {f"{job.stage} {job.cell}" for job in Plan.load("demo", ROOT).jobs()}
    assert edited("ftbench", STATEMENT) == everything
