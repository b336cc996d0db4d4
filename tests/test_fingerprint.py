"""The source fingerprint: blind to comments and layout, awake to every statement that a job can reach."""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftbench import fingerprint as source
from ftbench.config.load import LoadedStudy, load_catalogue
from ftbench.config.study import Study
from ftbench.fingerprint import closure, fingerprint
from ftbench.plan import Plan

ROOT = Path(__file__).parents[1]
GARDEN = {
    "__init__.py": '"""A package to take fingerprints of."""\n',
    "tree.py": '''
        """A tree."""
        from garden.soil import water

        def grow(height: int) -> int:
            """One step."""
            return height + water()
        ''',
    "soil.py": "def water() -> int:\n    return 1\n",
    "shed.py": "TOOLS = 3\n",
    "beds/__init__.py": "ROWS = 2\n",
    "beds/roses.py": "from . import tulips\nfrom ..shed import TOOLS\nCOUNT = tulips.COUNT\n",
    "beds/tulips.py": "COUNT = 4\n",
    "beds/lilies.py": "def pick() -> int:\n    from garden import shed\n    return shed.TOOLS\n",
}


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package on the path; what was read of it is dropped before and after."""
    folder = tmp_path / "garden"
    for name, text in GARDEN.items():
        write(folder / name, textwrap.dedent(text).lstrip())
    monkeypatch.syspath_prepend(tmp_path)
    source.forget()
    yield folder
    source.forget()


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    source.forget()


def taken(*modules: str) -> str:
    source.forget()
    return fingerprint(modules)


TREE = textwrap.dedent(GARDEN["tree.py"]).lstrip()


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n" + TREE,
        TREE.replace('"""A tree."""\n', ""),
        TREE.replace('    """One step."""\n', ""),
        TREE.replace("One step.", "Another text, of\n    two lines."),
        TREE.replace("\n\n", "\n\n\n\n"),
        TREE.replace("height + water()", "(\n        height\n        +\n        water()  # rain\n    )"),
        TREE.replace('"""', "'''"),
        TREE.replace("\n", "\r\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(garden: Path, text: str) -> None:
    before = taken("garden.tree")
    (garden / "tree.py").write_bytes(text.encode())
    assert taken("garden.tree") == before


@pytest.mark.parametrize(
    "text",
    [
        TREE.replace("+", "-"),
        TREE.replace("height: int", "height: float"),
        TREE.replace("height: int", "height: int = 1"),
        TREE.replace("def grow", "@print\ndef grow"),
        TREE + "AGE = 1\n",
        TREE + "'a text that is no docstring'\n",
        TREE.replace("def grow", "async def grow"),
        TREE.replace("def grow", "def shrink"),
    ],
)
def test_every_statement_counts(garden: Path, text: str) -> None:
    before = taken("garden.tree")
    write(garden / "tree.py", text)
    assert taken("garden.tree") != before


@pytest.mark.parametrize(
    ("module", "reached"),
    [
        ("garden.tree", {"garden", "garden.tree", "garden.soil"}),
        ("garden.beds.roses", {"garden", "garden.beds", "garden.beds.roses", "garden.beds.tulips", "garden.shed"}),
        ("garden.beds.lilies", {"garden", "garden.beds", "garden.beds.lilies", "garden.shed"}),
        ("garden.beds", {"garden", "garden.beds"}),
        ("garden.nothing", set()),
        ("absent_package.part", set()),
    ],
)
def test_relative_imports_imports_inside_functions_and_parents_are_followed(
    garden: Path, module: str, reached: set[str]
) -> None:
    assert closure(module) == reached


@pytest.mark.parametrize("module", ["garden.tree", "garden.beds.roses", "garden.beds.lilies"])
def test_a_fingerprint_changes_exactly_with_the_files_that_are_reached(garden: Path, module: str) -> None:
    before = taken(module)
    for name, text in GARDEN.items():
        file = garden / name
        own = "garden." + name.removesuffix(".py").replace("/", ".")
        own = own.removesuffix(".__init__")
        old = file.read_text()
        write(file, textwrap.dedent(text).lstrip() + "\nEXTRA = 1\n")
        assert (taken(module) != before) == (own in closure(module)), own
        write(file, old)
        assert taken(module) == before


def test_circles_of_imports_end(garden: Path) -> None:
    write(garden / "soil.py", "def water() -> int:\n    from garden import tree\n    return tree.grow(1)\n")
    assert closure("garden.tree") == closure("garden.soil")


def test_neither_order_nor_repetition_of_modules_counts_but_each_module_does(garden: Path) -> None:
    assert taken("garden.tree", "garden.shed") == taken("garden.shed", "garden.tree", "garden.tree")
    assert taken("garden.tree", "garden.shed") != taken("garden.tree")


def test_a_new_file_that_is_imported_counts_and_one_that_nobody_imports_does_not(garden: Path) -> None:
    before = taken("garden.tree")
    write(garden / "fence.py", "HEIGHT = 1\n")
    assert taken("garden.tree") == before
    write(garden / "tree.py", TREE + "import garden.fence\n")
    imported = taken("garden.tree")
    write(garden / "fence.py", "HEIGHT = 2\n")
    assert len({before, imported, taken("garden.tree")}) == 3


SIMPLE = st.sampled_from(["x = 1", "y = x + 2", "def f(a):\n    return a", "class C:\n    z = 3", "import os", "pass"])
COMMENT = st.sampled_from(["# note", "", "   # deeper", "\n\n"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(statements=st.lists(SIMPLE, max_size=5), others=st.lists(SIMPLE, max_size=5), comments=st.lists(COMMENT))
def test_two_texts_have_equal_fingerprints_exactly_when_their_statements_are_equal(
    garden: Path, statements: list[str], others: list[str], comments: list[str]
) -> None:
    def commented(lines: list[str]) -> str:
        notes = iter(comments)
        return '"""Text."""\n' + "\n".join(f"{next(notes, '')}\n{line}" for line in lines)

    write(garden / "shed.py", "\n".join(statements))
    before = taken("garden.shed")
    write(garden / "shed.py", commented(others))
    same = ast.dump(ast.parse("\n".join(statements))) == ast.dump(ast.parse("\n".join(others)))
    assert (taken("garden.shed") == before) == same


def test_equal_sources_have_equal_fingerprints_in_another_process_and_another_place(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src" / "ftbench", tmp_path / "ftbench", ignore=shutil.ignore_patterns("__pycache__"))
    modules = ("ftbench.stages.finetune", "ftbench.methods.dps_mix")
    code = f"from ftbench.fingerprint import fingerprint; print(fingerprint({modules!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert done.stdout.strip() == taken(*modules)


# through the plan of the demo study


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
        write(file, old + addition)
        after = sources()
        write(file, old)
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
