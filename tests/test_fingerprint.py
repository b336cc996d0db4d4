"""The source fingerprint: blind to comments and layout, awake to every statement that a job can reach."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftbench import fingerprint as source
from ftbench.fingerprint import closure, fingerprint

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


EVERYTHING = r"""
import os.path as p
async def f(a, /, b: int = 1, *c, d=None, **e) -> None:
    async with a as b, c: await d
    return [x async for x in y if x], {**a, "k": None}, {*b}, a[1:, ...], lambda: (yield)
@f
class C(B, m=1):
    x: int
    def g(self): return f"{self.x!r:>{self.w}} {1=}" "b" f"{''}", 1e400, 2j, b"\xff", "é\u2028", -1, not a
match a:
    case C(1, k=[*_, None]) | {"a": _, **r}: del a
try: raise A from None
except* (B, C) as e: global z
else: pass
finally: print(*a, **b)
while (n := 3) > 2: break
"""


def test_a_field_that_another_release_of_python_adds_changes_nothing_while_it_is_empty() -> None:
    tree = ast.parse(EVERYTHING)
    before = source.canonical(tree)
    for node in ast.walk(tree):
        node._fields = (*node._fields, "type_params", "other")
        node.type_params, node.other = [], None  # type: ignore[attr-defined]
    assert source.canonical(tree) == before
    tree.body[1].type_params = [ast.Name("T", ast.Load())]  # type: ignore[attr-defined]
    assert source.canonical(tree) != before


@pytest.mark.parametrize("release", ["python3.12", "python3.13", "python3.14"])
def test_the_fingerprint_is_that_of_other_releases_of_python(release: str, tmp_path: Path) -> None:
    code = "import ast, sys; from ftbench.fingerprint import canonical, fingerprint; print(fingerprint(sys.argv[2:]))\n"
    code += "print(canonical(ast.parse(open(sys.argv[1], encoding='utf-8').read())))"
    (tmp_path / "everything.py").write_text(EVERYTHING, encoding="utf-8")
    modules = ("ftbench.stages.finetune", "ftbench.stages.report", "ftbench.methods.dps_mix")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_CACHE_HOME": str(tmp_path)}
    words = [release, "-c", code, str(tmp_path / "everything.py"), *modules]
    there = shutil.which(release) and not subprocess.run([release, "-V"], check=False, capture_output=True).returncode
    if not there:
        pytest.skip(f"{release} is not here")
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines() == [taken(*modules), source.canonical(ast.parse(EVERYTHING))]


def test_what_was_parsed_is_remembered_by_content_alone(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = taken("garden.tree")
    monkeypatch.setattr(ast, "parse", lambda *_, **__: pytest.fail("parsed again"))
    assert taken("garden.tree") == first
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(garden / "soil.py", "def water() -> int:\n    return 2\n")
    assert taken("garden.tree") != first


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_damaged_memory_costs_time_and_changes_nothing(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    first = taken("garden.tree")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source._memory_file().parent.mkdir(parents=True)
    source._memory_file().write_text(content)
    assert taken("garden.tree") == first
    assert json.loads(source._memory_file().read_text())


def test_a_home_that_cannot_be_written_is_no_obstacle(
    garden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = taken("garden.tree")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert taken("garden.tree") == first
