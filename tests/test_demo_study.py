"""The embedded default study, run whole as `make demo` does, and once more with its shortcut switched off."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from project import CHECKOUT, Project, copied

SHIFTS = ["shift_near", "shift_middle", "shift_far"]


def accuracies(project: Project, study: str) -> pd.DataFrame:
    """Accuracy of vanilla, one row a seed, one column an evaluation set."""
    metrics = pd.read_parquet(project.folder / "results" / study / "tables" / "metrics.parquet")
    chosen = metrics[(metrics.metric == "accuracy") & (metrics.artifact_kind == "run") & (metrics.method == "vanilla")]
    return chosen.pivot_table(index="seed", columns="eval_set", values="value")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the checkout in which the default study has been run."""
    project = copied(tmp_path_factory.mktemp("demo") / "ftbench")
    project.run("snakemake", "--cores", "2")
    return project


def gap(scores: pd.DataFrame, *sets: str) -> float:
    """How much is lost from in-domain to the mean of some sets, over the seeds."""
    return float((scores["in_domain"] - scores[list(sets)].mean(axis=1)).mean())


def test_the_default_study_is_neither_at_chance_nor_at_the_ceiling(demo: Project) -> None:
    scores = accuracies(demo, "demo")
    assert len(scores) >= 5
    assert scores["in_domain"].between(0.75, 0.97).all()
    for shift in SHIFTS:
        assert scores[shift].mean() < scores["in_domain"].mean() - 0.05, shift
    assert scores["stress"].mean() < scores["in_domain"].mean() - 0.05


def test_the_default_study_measures_what_is_forgotten(demo: Project) -> None:
    metrics = pd.read_parquet(demo.folder / "results" / "demo" / "tables" / "metrics.parquet")
    prior = metrics[(metrics.role == "prior") & (metrics.metric == "accuracy")]
    before = prior[prior.artifact_kind == "base"].value.item()
    after = prior[prior.artifact_kind == "run"].groupby("method").value.mean()
    assert before > 0.75
    assert after["vanilla"] < before - 0.05
    assert after["mix_cd"] > after["vanilla"] + 0.05  # rehearsed rows keep a part of it
    tables = demo.folder / "results" / "demo" / "tables"
    lost = pd.read_parquet(tables / "forgetting.parquet")
    change = lost.after - lost.before - (lost.positive_transfer - lost.collateral_damage)
    assert len(lost)
    assert change.abs().max() < 1e-12
    assert set(pd.read_parquet(tables / "rehearsal_trace.parquet").method) == {"mix_cd"}
    assert after["linear_probe"] == pytest.approx(before, abs=1e-9)  # a frozen encoder forgets nothing


def test_a_second_run_has_nothing_to_do_and_the_leaderboard_prints(demo: Project) -> None:
    done = demo.run("snakemake", "--cores", "2")
    assert "Nothing to be done" in done.stdout + done.stderr
    shown = demo.run("ftbench", "show", "demo").stdout
    for method in ("vanilla", "linear_probe", "mix_cd", "dps_dense", "dps_mix"):
        assert method in shown
    assert "results/demo/tables" in shown
    assert "report/index.html" in shown


def test_without_the_shortcut_the_gap_shrinks(demo: Project) -> None:
    """Nothing is hard-wired: the gap comes from the shortcut that the generator plants."""
    before = accuracies(demo, "demo").head(3)
    entry = "generated: {part: reviews}"
    demo.edit("config/datasets/demo.yaml", entry, "generated: {part: reviews, settings: {shortcut_strength: 0.5}}")
    study = (CHECKOUT / "config" / "studies" / "demo.yaml").read_text()
    study = study.replace("seeds: [0, 1, 2, 3, 4]", "seeds: [0, 1, 2]")
    study = re.sub(r"\nmethods:.*", "\nmethods:\n  vanilla:\n", study, flags=re.DOTALL)
    file = Path(demo.folder) / "config" / "studies" / "demo.yaml"
    file.write_text(study)
    demo.run("snakemake", "--cores", "2")
    after = accuracies(demo, "demo")
    assert gap(before, *SHIFTS) > 0.1
    # what remains on the far sets is vocabulary that the training domain lacks
    assert gap(after, *SHIFTS) < gap(before, *SHIFTS) - 0.05
    assert gap(after, "shift_near") < gap(before, "shift_near") / 2
    assert gap(after, "stress") < gap(before, "stress") / 2
