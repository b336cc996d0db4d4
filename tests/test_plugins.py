"""Plug-ins are found by folder and by entry point, and a name can be taken only once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ftbench.config.errors import FtbenchError
from ftbench.plugins import KINDS, plugin, plugins

METHOD = '''
from ftbench.methods.base import Method


class Gentle(Method):
    """A method of another package."""

    name = "{name}"
    summary = "plain fine-tuning under another name"
    paper = "none"
    formula = "none"
'''


def other_package(folder: Path, name: str) -> Path:
    """An installed package that brings a method, as pip would lay it out."""
    (folder / "gentle_tuning.py").write_text(METHOD.format(name=name))
    info = folder / "gentle_tuning-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gentle-tuning\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftbench.methods]\ngentle = gentle_tuning\n")
    return folder


def in_new_process(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    source = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", source], text=True, capture_output=True, check=False)


def test_every_kind_has_its_shipped_plugins() -> None:
    assert {"vanilla", "linear_probe", "dps_dense", "dps_mix"} <= set(plugins("methods"))
    assert {"uniform", "greedy"} <= set(plugins("soups"))
    assert {"accuracy", "f1_macro", "matthews", "pearson"} <= set(plugins("metrics"))
    for kind in KINDS:
        assert all(found.summary for found in plugins(kind).values())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "metrics"])  # those have no settings
def test_every_setting_of_every_plugin_says_what_it_is(kind: str) -> None:
    """`ftbench describe` and the pages have nothing else to say of a setting than its description."""
    settings = [
        (name, key, field.description)
        for name, found in plugins(kind).items()
        for key, field in found.factory.Config.model_fields.items()
    ]
    assert [f"{name}.{key}" for name, key, text in settings if not text] == []


def test_a_method_of_another_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    folder = other_package(tmp_path, "gentle")
    done = in_new_process(
        folder, "from ftbench.plugins import plugin; found = plugin('methods', 'gentle'); print(found.module)"
    )
    assert done.stdout.strip() == "gentle_tuning", done.stderr


def test_the_source_of_another_packages_method_enters_the_fingerprint(tmp_path: Path) -> None:
    folder = other_package(tmp_path, "gentle")
    code = "from ftbench.fingerprint import fingerprint; print(fingerprint(['gentle_tuning']))"
    first = in_new_process(folder, code).stdout
    (folder / "gentle_tuning.py").write_text(METHOD.format(name="gentle") + "\n# a comment\n")
    assert in_new_process(folder, code).stdout == first
    (folder / "gentle_tuning.py").write_text(METHOD.format(name="gentle") + "\nRATE = 2\n")
    assert in_new_process(folder, code).stdout != first


def test_a_name_that_is_taken_is_refused_with_both_modules(tmp_path: Path) -> None:
    folder = other_package(tmp_path, "vanilla")
    done = in_new_process(folder, "from ftbench.plugins import plugins; plugins('methods')")
    assert "ftbench.methods.vanilla" in done.stderr
    assert "gentle_tuning" in done.stderr


def test_an_unknown_name_gives_the_nearest_one() -> None:
    with pytest.raises(FtbenchError, match="Did you mean `dps_dense`"):
        plugin("methods", "dps_dens")
