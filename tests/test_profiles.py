"""`snakemake --profile slurm`: the profile is found by its bare name, and a profile of the user's is left alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from project import CHECKOUT, Project

from ftbench.profiles import found, link, user_folder

SLURM = CHECKOUT / "profiles" / "slurm"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_the_profile_is_linked_into_the_users_folder_and_found_there(
    home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found("slurm", home) is None
    assert "linked" in link(CHECKOUT, home)
    place = tmp_path / ".config" / "snakemake" / "slurm"
    assert place.resolve() == SLURM
    assert found("slurm", home) == place
    assert "uses" in link(CHECKOUT, home)  # once more: nothing to do


def test_the_folder_of_the_user_follows_the_environment(tmp_path: Path) -> None:
    assert user_folder({"HOME": "/home/me", "XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "snakemake"
    assert user_folder({"HOME": "/home/me", "XDG_CONFIG_HOME": "relative"}) == Path("/home/me/.config/snakemake")


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_profile_of_the_users_own_is_left_alone_and_the_way_to_merge_is_told(
    home: dict[str, str], tmp_path: Path, kind: str
) -> None:
    place = user_folder(home) / "slurm"
    own = tmp_path / "own" if kind == "link" else place
    own.mkdir(parents=True)
    (own / "config.yaml").write_text("executor: slurm\n")
    if kind == "link":
        place.parent.mkdir(parents=True)
        place.symlink_to(own)
    told = link(CHECKOUT, home)
    assert "left as it is" in told or "was left" in told
    assert "--profile profiles/slurm --profile slurm" in told
    assert (place / "config.yaml").read_text() == "executor: slurm\n"
    assert not (place / "profile.yaml").exists()


def test_a_link_to_a_project_that_is_gone_is_replaced(home: dict[str, str], tmp_path: Path) -> None:
    place = user_folder(home) / "slurm"
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "gone")
    assert "linked" in link(CHECKOUT, home)
    assert place.resolve() == SLURM


def test_a_folder_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("a file in the way")
    assert "--profile profiles/slurm" in link(CHECKOUT, {"HOME": str(tmp_path)})


def test_the_bare_name_works_in_a_dry_run_that_would_submit_to_slurm(project: Project, tmp_path: Path) -> None:
    link(project.folder, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    told = project.run(
        "snakemake", "--profile", "slurm", "--dry-run", "--config", "study=smoke", "--forcerun", "finetune",
        XDG_CONFIG_HOME=str(tmp_path),
    )  # fmt: skip
    text = told.stdout + told.stderr
    assert "slurm and workflow specific profile" in text
    assert "Group job cells_per_job" in text


def test_the_profile_and_its_commented_parts_and_the_partition_map_are_yaml() -> None:
    text = (SLURM / "profile.yaml").read_text()
    content = yaml.safe_load(text)
    assert content["executor"] == "slurm"
    for line in text.splitlines():  # what a site may uncomment has to be YAML as well
        if re.match(r"# [a-z-]+: \S", line):
            assert isinstance(yaml.safe_load(line.removeprefix("# ")), dict), line
    partitions = yaml.safe_load((SLURM / "partitions.template.yaml").read_text())["partitions"]
    assert any(limits.get("max_gpu") for limits in partitions.values())
