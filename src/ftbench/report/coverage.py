"""What of a study is there and what is not: counts by status, and the first missing stage of each artifact.

Every form of the report begins with this, so that nobody reads a leaderboard without knowing its gaps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ftbench.report.results import Results

# how many artifacts of one reason are named before the rest is counted
NAMED = 8


@dataclass(frozen=True)
class Gap:
    """Artifacts that lack a stage for the same reason."""

    stage: str
    reason: str
    artifacts: tuple[str, ...]
    logs: tuple[str, ...]

    @property
    def named(self) -> str:
        """The artifacts in words; long lists are cut."""
        more = len(self.artifacts) - NAMED
        return ", ".join(self.artifacts[:NAMED]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class Coverage:
    """Counts of runs and soups by status, and the gaps."""

    runs: dict[str, int]
    soups: dict[str, int]
    gaps: tuple[Gap, ...]

    @property
    def complete(self) -> bool:
        return not self.gaps

    def sentence(self) -> str:
        """One sentence on runs and soups."""
        parts = [_counted("runs", self.runs)] + ([_counted("soups", self.soups)] if self.soups else [])
        return "; ".join(parts) + "."


def coverage(results: Results) -> Coverage:
    """The coverage of a study. Stages that only wait for an artifact's first missing one are left out."""
    first: dict[str, tuple[str, str, str | None]] = {}
    for row in results.missing:
        first.setdefault(row["artifact_id"], (row["stage"], row["reason"], row["log"]))
    groups: dict[tuple[str, str], list[tuple[str, str | None]]] = {}
    for artifact, (stage, reason, log) in first.items():
        groups.setdefault((stage, reason), []).append((artifact, log))
    gaps = tuple(
        Gap(stage, reason, tuple(name for name, _ in members), tuple(log for _, log in members if log))
        for (stage, reason), members in groups.items()
    )
    return Coverage(
        dict(Counter(row["status"] for row in results.runs)),
        dict(Counter(row["status"] for row in results.soups)),
        gaps,
    )


def _counted(what: str, counts: dict[str, int]) -> str:
    total = sum(counts.values())
    there = counts.get("success", 0)
    others = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()) if status != "success")
    return f"{there} of {total} {what} succeeded" + (f" ({others})" if others else "")
