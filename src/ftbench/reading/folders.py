"""From what a user names (a study, or a folder of results) to the tables of it.

All commands that read results begin here. A folder that was copied from elsewhere needs no study file: its tables say
what they hold.
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
    """A study's name, its folder, and where its newest tables are."""

    name: str
    places: StudyPaths
    tables: StudyPaths

    def file(self, table: str) -> Path:
        return self.tables.path("tables", table=table)

    def table(self, name: str) -> pa.Table | None:
        """A table, checked and in the present schema; null where there is none."""
        from ftbench.tables.store import read_table

        return read_table(name, self.file(name)) if self.file(name).is_file() else None

    def predictions(self) -> list[Path]:
        """Every file of predictions, sorted."""
        return sorted((self.places.root / "predictions").rglob("predictions.parquet"))


def folder_of(reference: str) -> ResultsFolder:
    """The results of a study given by name, or of a folder that holds `tables/`; `FtbenchError` without tables."""
    given = Path(reference)
    places = (
        StudyPaths(given) if (given / "tables").is_dir() else study_paths(given.stem if given.suffix else reference)
    )
    tables = newest(places)
    if not tables.path("tables", table="metrics").is_file():
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
