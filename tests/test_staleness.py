"""What reruns after a change, and what does not: dry runs on copies of the finished study.

Every expectation is written out by hand. Computed from the plan, it would only say that the plan agrees with itself.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml
from project import STUDY, Project

METHODS = ("vanilla", "dps_dense", "linear_probe")
TABLES = {"collect": {"study"}, "compare": {"study"}, "report": {"study"}}
SOUPS = {f"soups/reviews/smoke_encoder/{family}-vanilla-default" for family in ("uniform", "greedy")}
BASE = {"base/reviews/smoke_encoder"}


def runs(*methods: str, seeds: tuple[int, ...] = (0, 1)) -> set[str]:
    return {f"runs/reviews/smoke_encoder/{method}/default/s{seed}" for method in methods for seed in seeds}


EVERYTHING = runs(*METHODS) | SOUPS | BASE


def add_statement(project: Project, module: str) -> None:
    file = project.folder / "src" / "ftbench" / module
    file.write_text(f"{file.read_text()}\nMARK = 1\n")


def test_a_statement_in_a_method_reruns_its_cells_and_what_follows_from_them(project: Project) -> None:
    add_statement(project, "methods/vanilla.py")
    changed = runs("vanilla") | SOUPS
    assert project.stale() == {
        "finetune": runs("vanilla"), "soup": SOUPS, "predict": changed, "score": changed, **TABLES,
    }  # fmt: skip


def test_a_method_that_the_study_does_not_use_reruns_nothing(project: Project) -> None:
    add_statement(project, "methods/dps_mix.py")
    assert project.stale() == {}


def test_a_shared_module_reruns_its_users_and_what_follows_from_them(project: Project) -> None:
    add_statement(project, "training/batches.py")
    assert project.stale() == {
        "base": {"smoke_encoder"},
        "shift": {"reviews"},
        "upstream": {"prior/smoke_encoder"},
        "pretrain_samples": {"prior/smoke_encoder"},
        "finetune": runs(*METHODS),
        "soup": SOUPS,
        "predict": EVERYTHING,
        "score": EVERYTHING,
        **TABLES,
    }


def test_a_module_of_the_report_reruns_the_report_alone(project: Project) -> None:
    add_statement(project, "report/markdown.py")
    assert project.stale() == {"report": {"study"}}


def test_one_setting_of_one_method_reruns_its_cells(project: Project) -> None:
    project.edit("config/studies/smoke.yaml", "update_ratio: 0.2", "update_ratio: 0.25")
    changed = runs("dps_dense")
    assert project.stale() == {"finetune": changed, "predict": changed, "score": changed, **TABLES}


def test_another_seed_runs_the_new_cells_and_the_soups_that_hold_them(project: Project) -> None:
    project.edit("config/studies/smoke.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    new = runs(*METHODS, seeds=(2,))
    assert project.stale() == {
        "finetune": new, "soup": SOUPS, "predict": new | SOUPS, "score": new | SOUPS, **TABLES,
    }  # fmt: skip


def test_another_metric_scores_again_and_trains_nothing(project: Project) -> None:
    project.edit("config/studies/smoke.yaml", "metrics: [accuracy]", "metrics: [accuracy, f1_macro]")
    assert project.stale() == {"score": EVERYTHING, **TABLES}


def test_another_evaluation_set_predicts_again_and_trains_nothing(project: Project) -> None:
    new = "    evaluate:\n      near: {dataset: smoke_reviews, split: shift_near, role: ood}\n"
    project.edit("config/studies/smoke.yaml", "    evaluate:\n", new)
    assert project.stale() == {
        "audit": {"reviews"}, "shift": {"reviews"}, "predict": EVERYTHING, "score": EVERYTHING, **TABLES,
    }  # fmt: skip


def test_a_method_taken_out_reruns_the_tables_alone(project: Project) -> None:
    project.edit("config/studies/smoke.yaml", "  linear_probe: {}\n", "")
    assert project.stale() == TABLES


def test_a_study_written_in_another_order_and_layout_reruns_nothing(project: Project) -> None:
    content = yaml.safe_load(STUDY)
    shuffled = {name: content[name] for name in sorted(content)}
    shuffled["training"] = dict(sorted(content["training"].items()))
    (project.folder / "config/studies/smoke.yaml").write_text(
        "# a comment\n" + yaml.safe_dump(shuffled, sort_keys=False)
    )
    assert project.stale() == {}


def test_licence_and_notes_of_a_data_set_change_what_the_report_cites_and_nothing_else(project: Project) -> None:
    about = "\n  licence: CC0-1.0\n  licence_class: open\n  notes: words\n  citation: words"
    project.edit("config/datasets/smoke.yaml", "\n  title: Reviews of the tests", f"\n  title: Other words{about}")
    assert project.stale() == {"report": {"study"}}


def test_comments_docstrings_and_blank_lines_rerun_nothing(project: Project) -> None:
    for file in (project.folder / "src" / "ftbench").rglob("*.py"):
        text = re.sub(r'^( *)"""(?=\w)', r'\1"""Other words. ', file.read_text(), flags=re.M)
        assert "Other words" in text, file
        file.write_text(f"# a first comment\n\n{text}\n\n# a last comment\n")
    assert project.stale() == {}


def test_profile_threads_resources_logs_and_messages_rerun_nothing(project: Project) -> None:
    profile = "profiles/default/profile.yaml"
    more = "default-resources: [mem_mb=2000, runtime=10]\nretries: 2\nset-threads: [finetune=2]\n"
    project.edit(profile, "cores: all\n", f"cores: all\n{more}")
    rules = "workflow/rules/train.smk"
    project.edit(rules, "fine-tuning {wildcards.model}", "training {wildcards.model}")
    project.edit(
        rules, '        job=PLAN.arguments("finetune"),\n', '        job=PLAN.arguments("finetune"),\n    priority: 5\n'
    )
    project.edit(rules, 'PLAN.log("finetune", RUN)', 'PLAN.log("finetune", "again/" + RUN)')
    shutil.rmtree(project.results / "logs")
    words = ("--show-failed-logs", "--jobs", "3", "--set-threads", "predict=2", "--set-resources", "score:mem_mb=99")
    assert project.stale(*words) == {}


def test_git_reruns_nothing(project: Project) -> None:
    def git(*words: str) -> None:
        own = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *own, *words], cwd=project.folder, check=True, capture_output=True)

    git("init", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--message", "one")
    git("checkout", "-b", "other")
    method = project.folder / "src" / "ftbench" / "methods" / "vanilla.py"
    before = method.stat().st_mtime_ns
    for file in ("src/ftbench/methods/vanilla.py", "config/studies/smoke.yaml", "workflow/rules/train.smk"):
        with (project.folder / file).open("a") as handle:
            handle.write("# other\n\nMARK = 1\n" if file.endswith(".py") else "# other\n")
    git("commit", "--all", "--message", "two")
    assert project.stale()["finetune"] == runs("vanilla")
    git("checkout", "main")
    assert method.stat().st_mtime_ns != before
    assert project.stale() == {}


def test_a_moved_project_with_new_times_of_sources_reruns_nothing(project: Project, tmp_path: Path) -> None:
    for folder in ("src", "config", "workflow", "profiles"):
        for file in (project.folder / folder).rglob("*"):
            os.utime(file)
    os.utime(project.folder / "Snakefile")
    moved = Project(tmp_path / "moved to a folder with spaces")
    project.folder.rename(moved.folder)
    assert moved.stale() == {}


def test_deleted_tables_are_made_again_from_what_is_there(project: Project) -> None:
    shutil.rmtree(project.results / "tables")
    assert project.stale() == TABLES
