"""How the package hangs together: imports lead downwards, starting is cheap, files stay small and safe."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "ftbench"

# From top to bottom. A module may import from its own line and from those below; parts of one line that may
# not know each other stand on their own in APART.
ORDER: tuple[tuple[str, ...], ...] = (
    ("cli", "progress"),
    ("inspection",),
    ("evaluate_module",),
    ("reading",),
    ("doctor", "cluster", "queueing", "status", "why", "accept"),
    ("partial", "cost", "quota", "describe", "scaffold", "export"),
    ("plan",),
    ("requirements",),
    ("jobs",),
    ("detection_jobs",),
    ("attack_jobs",),
    ("perturb_jobs",),
    ("family_jobs",),
    ("data_jobs",),
    ("check_models",),
    ("check",),
    ("check_methods",),
    ("check_prior", "check_perturbations", "check_attacks", "check_detection"),
    ("architectures",),
    ("cited",),
    ("resolve",),
    ("tuning",),
    ("stage", "warm", "driver", "machine", "worker", "finished", "made", "profiles", "sources"),
    ("stages",),
    ("report",),
    ("comparing",),
    ("methods", "soups", "attacks", "perturbations", "metrics"),
    ("merging", "attacking"),
    ("training", "data", "tables", "statistics"),
    ("provenance", "fingerprint", "plugins", "outputs", "matrix", "language_cells", "acceptance", "rule_functions"),
    ("config", "paths"),
)
APART = {("training", "tables"), ("training", "statistics"), ("tables", "statistics"), ("attacks", "soups")}
HEAVY = ("torch", "transformers", "pandas", "sklearn", "pyarrow", "numpy", "scipy", "matplotlib", "datasets", "duckdb")
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "tools", "shared"}
MOST_LINES = 300


def module_of(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports(module: str) -> list[tuple[str, int]]:
    """Every imported module with its line, those inside functions included."""
    found = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: line {node.lineno}: relative imports hide the layer; spell it out"
            base = str(node.module)
            submodules = [f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in FILES]
            found += [(name, node.lineno) for name in submodules or [base]]
    return found


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def level(module: str) -> int:
    for number, parts in enumerate(ORDER):
        if part(module) in parts:
            return number
    raise AssertionError(f"{module} stands in no layer; add it to ORDER in {Path(__file__).name}")


def inner(module: str) -> list[tuple[str, int]]:
    return [(name, line) for name, line in imports(module) if name.startswith("ftbench.")]


def test_every_part_of_the_package_stands_in_a_layer_and_no_layer_is_empty() -> None:
    parts = {part(module) for module in FILES} - {""}
    assert parts == {name for layer in ORDER for name in layer}


@pytest.mark.parametrize("module", [module for module in FILES if part(module)])
def test_imports_lead_downwards(module: str) -> None:
    for name, line in inner(module):
        where = f"{FILES[module].relative_to(SOURCE)}:{line} imports {name}"
        assert level(name) >= level(module), f"{where}, which is above it"
        assert (part(module), part(name)) not in APART, f"{where}; these two parts do not know each other"
        assert (part(name), part(module)) not in APART, f"{where}; these two parts do not know each other"


def test_no_two_modules_import_each_other_at_the_top() -> None:
    def top(module: str) -> set[str]:
        lines = {node.lineno for node in tree(module).body if isinstance(node, ast.Import | ast.ImportFrom)}
        return {name for name, line in inner(module) if line in lines}

    graph = {module: top(module) for module in FILES}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"a circle of imports: {' -> '.join([*path, module])}"
        if module not in done:
            for name in graph.get(module, ()):
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def closure(module: str) -> set[str]:
    """Every module that can ever be imported from here, outside ones included."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other, _ in imports(name)] if name in FILES else []
    return found


@pytest.mark.parametrize("module", [name for name in FILES if part(name) in ("statistics", "tables")])
def test_statistics_and_tables_never_reach_torch(module: str) -> None:
    reached = {name.partition(".")[0] for name in closure(module)}
    assert not reached & {"torch", "transformers", "accelerate", "safetensors"}
    assert not [name for name in closure(module) if part(name) in ("training", "methods", "soups", "stages")]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_command_line_and_the_plan_start_without_heavy_libraries() -> None:
    statement = (
        "import ftbench.cli, ftbench.plan, ftbench.check, ftbench.stage, ftbench.fingerprint\n"
        "from pathlib import Path\n"
        f"plan = ftbench.plan.Plan.load('demo', Path({str(PACKAGE.parents[1])!r}))\n"
        "assert all(plan.command(job) for job in plan.jobs())"
    )
    assert not loaded_by(statement) & set(HEAVY)


def test_a_table_is_written_without_torch() -> None:
    statement = (
        "import ftbench.tables.store, ftbench.tables.schema, ftbench.statistics.paired, ftbench.statistics.baseline"
    )
    assert not loaded_by(statement) & {"torch", "transformers"}


@pytest.mark.parametrize("file", FILES.values(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_is_small_says_what_it_is_for_and_has_a_telling_name(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES, f"{file.name} has more than {MOST_LINES} lines; it has two subjects"
    assert not {*file.relative_to(PACKAGE).with_suffix("").parts} & VAGUE
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{file.name} begins without a docstring"


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


@pytest.mark.parametrize("module", FILES)
def test_nothing_unsafe_is_imported_or_called(module: str) -> None:
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not unsafe & {name.partition(".")[0] for name, _ in imports(module)}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"torch.load", "torch.save", "yaml.unsafe_load", "np.load", "os.system"}
        if isinstance(node, ast.Call):
            where = f"{module}: line {node.lineno}: {called(node)}"
            assert called(node) not in {"eval", "exec", "compile", "__import__"}, where
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                assert not (keyword.arg in {"trust_remote_code", "allow_pickle", "shell"} and value is not False), where


def test_pretrained_files_are_read_without_network_and_without_remote_code() -> None:
    for module in FILES:
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call) and called(node).endswith(".from_pretrained"):
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert given.get("trust_remote_code") == "False", f"{module}: line {node.lineno}"
                assert given.get("local_files_only") == "True", f"{module}: line {node.lineno}"


def test_only_fetch_and_base_name_what_downloads() -> None:
    downloaders = {"huggingface_hub", "datasets", "requests", "httpx", "urllib.request", "http.client"}
    users = {module for module in FILES for name, _ in imports(module) if name in downloaders}
    assert users == {"ftbench.data.sources", "ftbench.stages.base"}
