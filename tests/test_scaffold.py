"""`ftbench new method`: the written file is found, passes the conformance suite, and does what it says."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_conformance
import torch

from ftbench import plugins
from ftbench.config.errors import FtbenchError
from ftbench.methods.vanilla import Vanilla
from ftbench.scaffold import new_method


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a new method in a folder that is searched like the shipped ones."""
    package = importlib.import_module("ftbench.methods")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    new_method("small_logits", tmp_path)
    plugins._discovered.cache_clear()
    yield "small_logits"
    plugins._discovered.cache_clear()
    sys.modules.pop("ftbench.methods.small_logits", None)


CHECKS = {
    name: check
    for name, check in inspect.getmembers(test_conformance, inspect.isfunction)
    if name.startswith("test_") and list(inspect.signature(check).parameters) == ["name"]
}


@pytest.mark.parametrize("check", CHECKS)
def test_a_new_method_passes_the_conformance_suite(made: str, check: str) -> None:
    assert len(CHECKS) >= 7
    CHECKS[check](made)


def test_a_new_method_resumes(made: str, tmp_path: Path) -> None:
    test_conformance.test_a_stopped_run_resumes_to_the_same_weights(made, "last", [7], tmp_path / "checkpoints")


def test_the_written_penalty_is_the_one_of_its_formula(made: str) -> None:
    factory = plugins.plugin("methods", made).factory
    assert issubclass(factory, type(Vanilla(Vanilla.Config())).__base__)
    logits = torch.tensor([[1.0, 2.0], [0.0, -3.0]])
    found = factory(factory.Config(strength=0.5)).loss(torch.tensor(1.0), logits, None, None)
    assert float(found) == pytest.approx(1 + 0.5 * (5 + 9) / 2)
    assert "strength * mean_i |z_i|^2" in factory.formula


def test_a_written_file_is_formatted_and_free_of_findings(tmp_path: Path) -> None:
    import subprocess

    file = new_method("small_logits", tmp_path)
    settings = ["--config", str(Path(__file__).parents[1] / "pyproject.toml")]
    for command in (["check", *settings], ["format", "--check", *settings]):
        done = subprocess.run(
            [str(Path(sys.executable).parent / "ruff"), *command, str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["vanilla", "dps_dense"])
def test_a_taken_name_is_refused_with_its_module(name: str, tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match=f"ftbench.methods.{name}"):
        new_method(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    file = new_method("fresh", tmp_path)
    file.write_text("mine")
    with pytest.raises(FtbenchError, match="existing file"):
        new_method("fresh", tmp_path)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["Fresh", "a-b", "1st", "class", "../up", ""])
def test_a_name_that_is_no_module_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FtbenchError, match="small letters"):
        new_method(name, tmp_path)


def test_outside_a_checkout_a_folder_has_to_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FtbenchError, match="--folder"):
        new_method("fresh")
    (tmp_path / "src/ftbench/methods").mkdir(parents=True)
    assert new_method("fresh") == Path("src/ftbench/methods/fresh.py")
