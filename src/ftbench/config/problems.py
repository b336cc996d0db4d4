"""Problems of a study, gathered so that all of them are told at once. The checks of a study write into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftbench.config.errors import FtbenchError, problem
from ftbench.config.load import LoadedStudy


class Problems:
    """Collected problems, each with the study's file."""

    def __init__(self, loaded: LoadedStudy) -> None:
        self.file = loaded.file
        self.lines: list[str] = []

    def add(self, key: str, found: str, expected: str | None = None, fix: str | None = None) -> None:
        self.lines.append(problem(file=self.file, key=key, found=found, expected=expected, fix=fix))

    def catch(self, function: Callable[[], Any], key: str | None = None) -> Any:
        """Call it; an `FtbenchError` becomes problems with the study's file in front."""
        try:
            return function()
        except FtbenchError as error:
            for line in str(error).splitlines():
                text = line.removeprefix("study: ")
                self.lines.append(f"{self.file}: {text}" if key is None else f"{self.file}: key `{key}`: {text}")
        return None
