"""The workflow when something goes wrong: killed, called twice, a method that diverges, a method that raises."""

from __future__ import annotations

import signal
import subprocess
from contextlib import suppress

import pandas as pd
import psutil
from project import Project
from training_job import PATIENCE, wait_for

RUN = "runs/reviews/smoke_encoder/{method}/default/s{seed}"
TABLES = {"collect": {"study"}, "compare": {"study"}, "report": {"study"}}
CRASHING = '''
from ftbench.methods.base import Context, Method


class Crashing(Method):
    """Raises in the third step of one seed."""

    name = "crashing"
    summary = "raises"

    def gradients_ready(self, context: Context) -> None:
        if context.step == 3 and context.seed == 1:
            raise RuntimeError("no gradient for you")
'''


def started(project: Project, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        project.command("snakemake", "--cores", "2", "--config", "study=smoke"),
        cwd=project.folder,
        env=project.environment(**environment),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def table(project: Project, name: str, place: str = "tables") -> pd.DataFrame:
    return pd.read_parquet(project.results / place / f"{name}.parquet")


def processes(project: Project) -> list[str]:
    """Command lines of what still runs in the project's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(project.folder):
                found.append(" ".join(process.cmdline())[:200])
        except psutil.Error:
            continue
    return found


def steps(project: Project) -> list[int]:
    return [int(path.name.rpartition("-")[2]) for path in (project.results / ".work").glob("*/checkpoint-*")]


def test_a_killed_workflow_leaves_nothing_running_and_the_next_call_goes_on_to_the_same_tables(
    finished: Project, project: Project
) -> None:
    # slow steps: the kill must come while both seeds train
    project.slow_steps(0.2)
    driver = started(project, FTBENCH_CHECKPOINT_SECONDS="0")
    wait_for("both seeds at work", lambda: len(found := steps(project)) == 2 and min(found) >= 3)
    driver.kill()
    driver.communicate()
    wait_for("the end of all processes of the killed workflow", lambda: not processes(project), 30)
    assert max(steps(project)) < 40

    told = project.snakemake()
    assert f"(process {driver.pid}) was killed; its lock is gone" in told.stdout + told.stderr
    for seed in (0, 1):
        log = project.results / "logs" / "finetune" / f"{RUN.format(method='dps_dense', seed=seed)}.log"
        assert "resumed after step" in log.read_text()
    mine, theirs = (table(place, "runs").set_index("run_id") for place in (project, finished))
    same = ["status", "steps", "select_score", "checkpoint_sha256", "init_hash", "examples_seen"]
    pd.testing.assert_frame_equal(mine[same], theirs[same], check_exact=True)
    for name in ("metrics", "comparisons", "soup_ingredients", "pretrain_samples", "overlap", "missing"):
        pd.testing.assert_frame_equal(table(project, name), table(finished, name), check_exact=True)
    assert project.stale() == {}


def test_a_second_workflow_in_the_folder_is_refused_and_the_first_one_ends(project: Project) -> None:
    for file in (project.results / "tables").iterdir():
        file.unlink()
    first = started(project)

    def locked() -> bool:
        # the last that Snakemake writes, and names of files in it: a lock without them locks nothing
        with suppress(FileNotFoundError):  # Snakemake makes the folder anew
            return any(file.stat().st_size for file in (project.folder / ".snakemake" / "locks").glob("*.output.lock"))
        return False

    wait_for("the lock of the first workflow", locked)
    first.send_signal(signal.SIGSTOP)
    try:
        second = project.snakemake(check=False)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout + second.stderr
    text, _ = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, text
    assert project.stale() == {}


def test_a_run_that_fails_after_a_change_is_not_replaced_by_what_was_made_before(project: Project) -> None:
    begins = "        stages = Stages.of(self.config, context)\n        beginning"
    raising = f"        raise RuntimeError\n{begins}"
    project.edit("src/ftbench/methods/dps_dense.py", begins, raising)
    assert project.snakemake(check=False).returncode != 0
    both = {RUN.format(method="dps_dense", seed=seed) for seed in (0, 1)}
    expected = {"finetune": both, "predict": both, "score": both, **TABLES}
    assert project.stale() == expected
    project.edit("src/ftbench/methods/dps_dense.py", raising, begins)
    assert project.stale() == expected
    project.snakemake()
    assert project.stale() == {}


def test_a_method_that_raises_or_diverges_spoils_nothing_else_and_can_be_mended(
    finished: Project, project: Project
) -> None:
    (project.folder / "src/ftbench/methods/crashing.py").write_text(CRASHING)
    study = "config/studies/smoke.yaml"
    project.edit(study, "linear_probe: {}", "linear_probe: {training: {learning_rate: 1.0e+30}}\n  crashing: {}")
    done = project.snakemake(check=False)
    assert done.returncode != 0
    crashed = RUN.format(method="crashing", seed=1)
    log = f"results/smoke/logs/finetune/{crashed}.log"
    assert "no gradient for you" in done.stdout + done.stderr

    # the tables stand apart from the complete ones, and say what is missing, why, and where to look
    place = "partial/tables"
    missing = table(project, "missing", place).query("stage == 'finetune'").set_index("artifact_id")
    assert "RuntimeError: no gradient for you" in missing.reason[crashed]
    assert missing.log[crashed] == log
    assert (project.folder / log).is_file()
    runs = table(project, "runs", place).set_index("run_id")
    assert runs.status[crashed] == "missing"
    assert runs.status[RUN.format(method="crashing", seed=0)] != "missing"
    assert len(runs) == 8
    metrics = table(project, "metrics", place)
    others = metrics.method.isin(["vanilla", "dps_dense"])
    before = table(finished, "metrics")
    expected = before[before.method.isin(["vanilla", "dps_dense"])]
    pd.testing.assert_frame_equal(
        metrics[others].reset_index(drop=True), expected.reset_index(drop=True), check_exact=True
    )

    # the diverging runs are results: failed, with their step, without scores
    for seed in (0, 1):
        run = RUN.format(method="linear_probe", seed=seed)
        assert runs.status[run] == "failed"
        assert "no longer finite at step " in runs.error[run]
        assert "no longer finite at step " in missing.reason[run]
    assert metrics[metrics.method == "linear_probe"].value.isna().all()

    # mended: only its cells and what follows, and the tables of the failed run are gone
    assert project.stale() == {"finetune": {crashed}, "predict": {crashed}, "score": {crashed}, **TABLES}
    project.edit("src/ftbench/methods/crashing.py", "context.step == 3 and", "context.step == 0 and")
    both = {crashed, RUN.format(method="crashing", seed=0)}
    assert project.stale() == {"finetune": both, "predict": both, "score": both, **TABLES}
    project.snakemake()
    assert not (project.results / "partial").exists()
    assert list((project.results / ".work" / "failures").iterdir()) == []
    runs = table(project, "runs").set_index("run_id")
    assert set(runs.status[runs.method == "crashing"]) <= {"success", "collapsed"}
    assert set(runs.status[runs.method == "linear_probe"]) == {"failed"}
    missing = table(project, "missing")
    assert set(missing.artifact_id) == {RUN.format(method="linear_probe", seed=seed) for seed in (0, 1)}
    assert project.stale() == {}
