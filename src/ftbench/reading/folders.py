"""From what a user names (a study, a folder of results, or a commit) to the tables of it.

All commands that read results begin here. A folder that was copied from elsewhere needs no study file: its tables say
what they hold. A commit stands for the runs and soups that were made from it, wherever they lie below `results/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ftbench.config.errors import FtbenchError, nearest, problem
from ftbench.partial import newest
from ftbench.paths import StudyPaths, study_paths

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ResultsFolder:
    """A study's name, its folder, and where its newest tables are; or the part of it that one commit made."""

    name: str
    places: StudyPaths
    tables: StudyPaths
    commit: str = ""  # only what this commit made, a full hash or its beginning; empty for everything

    def file(self, table: str) -> Path:
        return self.tables.path("tables", table=table)

    def table(self, name: str) -> pa.Table | None:
        """A table, checked and in the present schema; null where there is none.

        Of a folder with a commit, rows of runs, soups and their scores are those that the commit made.
        """
        from pyarrow import array, compute

        from ftbench.tables.store import read_table

        if not self.file(name).is_file():
            return None
        found = read_table(name, self.file(name))
        key = next((column for column in ("run_id", "soup_id", "artifact_id") if column in found.column_names), None)
        if not self.commit or key is None:
            return found
        return found.filter(compute.is_in(found.column(key), value_set=array(sorted(self._made()))))

    def _made(self) -> set[str]:
        """Ids of the runs and soups that the commit made."""
        whole, found = ResultsFolder(self.name, self.places, self.tables), set()
        for name, key in (("runs", "run_id"), ("soups", "soup_id")):
            rows = whole.table(name)
            for row in [] if rows is None else rows.select([key, "git_commit"]).to_pylist():
                if (row["git_commit"] or "").startswith(self.commit):
                    found.add(row[key])
        return found

    def of_commit(self, commit: str) -> ResultsFolder:
        """What was made from a commit; an `FtbenchError` where that is nothing."""
        found = ResultsFolder(f"{self.name}@{commit[:12]}", self.places, self.tables, commit)
        if found._made():
            return found
        runs = self.table("runs")
        known = sorted(set(runs.column("git_commit").to_pylist()) - {None}) if runs is not None else []
        others = ", ".join(item[:12] for item in known) or "a recorded commit, which no run here has"
        raise FtbenchError(
            problem(
                file=self.file("runs"),
                found=f"nothing that commit {commit} made",
                expected=others,
            )
        )

    def predictions(self) -> list[Path]:
        """Every file of predictions, sorted."""
        return sorted((self.places.root / "predictions").rglob("predictions.parquet"))


def folder_of(reference: str) -> ResultsFolder:
    """The results of a study given by name, of a folder that holds `tables/`, or of a commit: `FOLDER@COMMIT`, or
    `COMMIT` where one folder below `results/` has runs of it. `FtbenchError` without tables."""
    given = Path(reference)
    place, at, commit = reference.rpartition("@")
    if at and place and not given.is_dir():
        return folder_of(place).of_commit(full_hash(commit))
    places = (
        StudyPaths(given) if (given / "tables").is_dir() else study_paths(given.stem if given.suffix else reference)
    )
    tables = newest(places)
    if not tables.path("tables", table="metrics").is_file():
        if (hashed := full_hash(reference)) and (made := _made_from(hashed)):
            return made
        known = [item.parent.name for item in Path("results").glob("*/tables")]
        raise FtbenchError(
            problem(
                file=places.root,
                found="no tables of results",
                expected="the name of a study that has run, or a folder with `tables/metrics.parquet`",
                fix=nearest(reference, known),
            )
        )
    return ResultsFolder(places.root.resolve().name, places, tables)


def full_hash(commit: str) -> str:
    """What git calls `commit` here (a branch, `HEAD~1`), or the given one where it looks like a hash; else empty."""
    import re
    import subprocess

    try:
        told = subprocess.run(  # noqa: S603, no shell, and the name stands behind the end of options
            ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"],  # noqa: S607
            capture_output=True, text=True, check=False,
        ).stdout.strip()  # fmt: skip
    except OSError:  # no git here
        told = ""
    return told or (commit if re.fullmatch(r"[0-9a-f]{7,40}", commit) else "")


def _made_from(commit: str) -> ResultsFolder | None:
    """The one folder below `results/` with runs of a commit; null where none has, an `FtbenchError` where several."""
    folders = [folder_of(str(file.parents[1])) for file in sorted(Path("results").glob("*/tables/metrics.parquet"))]
    found = [folder for folder in folders if ResultsFolder("", folder.places, folder.tables, commit)._made()]
    if len(found) > 1:
        named = ", ".join(f"results/{folder.name}@{commit[:12]}" for folder in found)
        raise FtbenchError(f"commit {commit[:12]}: found runs of it in {len(found)} folders. Name one: {named}")
    return found[0].of_commit(commit) if found else None
