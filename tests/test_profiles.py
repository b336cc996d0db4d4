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


def test_cells_of_a_tuned_study_share_allocations_that_do_not_wait_for_themselves(
    project: Project, tmp_path: Path
) -> None:
    tuning = "\ntuning:\n  n_variants: 2\n  spaces:\n    vanilla: {training.learning_rate: [0.001, 0.01]}\nsoups:"
    project.edit("config/studies/smoke.yaml", "\nsoups:", tuning)
    link(project.folder, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    told = project.run(
        "snakemake", "--profile", "slurm", "--dry-run", "--config", "study=smoke", "--group-components",
        "cells_per_job=8", "trials_per_job=8", "evaluation=8", XDG_CONFIG_HOME=str(tmp_path),
    )  # fmt: skip
    assert "Group job trials_per_job" in told.stdout + told.stderr


def test_groups_name_rules_and_hold_all_that_is_done_for_every_artifact() -> None:
    text = "\n".join(file.read_text() for file in (CHECKOUT / "workflow" / "rules").glob("*.smk"))
    outputs = dict(re.findall(r"^rule (\w+):.*?message:\n(.*?)\n", text, re.M | re.S))
    content = yaml.safe_load((SLURM / "profile.yaml").read_text())
    groups = dict(item.split("=") for item in content["groups"])
    assert set(groups) <= set(outputs)
    assert {rule for rule, message in outputs.items() if "{wildcards.artifact}" in message} <= set(groups)
    assert set(groups.values()) == {item.split("=")[0] for item in content["group-components"]}


def test_the_profile_and_its_commented_parts_and_the_partition_map_are_yaml() -> None:
    text = (SLURM / "profile.yaml").read_text()
    content = yaml.safe_load(text)
    assert content["executor"] == "slurm"
    for line in text.splitlines():  # what a site may uncomment has to be YAML as well
        if re.match(r"# [a-z-]+: \S", line):
            assert isinstance(yaml.safe_load(line.removeprefix("# ")), dict), line
    partitions = yaml.safe_load((SLURM / "partitions.template.yaml").read_text())["partitions"]
    assert any(limits.get("max_gpu") for limits in partitions.values())
