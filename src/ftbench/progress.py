"""Run the workflow with one line of progress and an estimate instead of its full log.

`make demo` calls it as `python -m ftbench.progress snakemake ...`. Everything that the workflow prints stays in
its own log; what a reader must act on (errors, failed jobs) is printed in full.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, median

from ftbench import made
from ftbench.status import duration

STEPS = re.compile(r"^(\d+) of (\d+) steps \(\d+%\) done")
JOB = re.compile(r"^Job (\d+): (.+)$")
ENDED = re.compile(r"^Finished jobid: (\d+) \(Rule: (\w+)\)")
FAILED = re.compile(r"^ +jobid: (\d+)$")  # in the lines about an error
COUNT = re.compile(r"^(\w+) +(\d+)$")  # a line of the table of jobs before the first
QUIET = re.compile(
    r"^(\[\w{3} \w{3} |Reason: |Job \d+: |Finished jobid|Select jobs|Execute \d+ jobs|\s*$"
    r"|\s+(input|output|reason|resources): )"
)
TELLING = re.compile(r"error|exception|fail|missing|lock|nothing to be done|tables from what exists", re.IGNORECASE)


class Pace:
    """How long jobs of each rule take, from what the workflow says, and how long those that are left will.

    Trainings come first and are the longest: the mean of all jobs so far would promise too late an end. A rule of which
    no job has ended takes what `before` says, else as long as the median rule.
    """

    def __init__(self, now: float, before: Mapping[str, float]) -> None:
        self.started, self.before = now, before
        self.left: dict[str, int] = {}
        self.spent: dict[str, list[float]] = {}
        self.running: dict[str, float] = {}

    def hear(self, text: str, now: float) -> None:
        """Take in one line of the workflow's output, at `now` in seconds."""
        if match := COUNT.match(text):
            if match[1] not in ("all", "total"):
                self.left[match[1]] = int(match[2])
        elif match := JOB.match(text):
            self.running[match[1]] = now
        elif (match := ENDED.match(text)) and match[1] in self.running:
            self.spent.setdefault(match[2], []).append(now - self.running.pop(match[1]))
            self.left[match[2]] = self.left.get(match[2], 1) - 1
        elif match := FAILED.match(text):
            self.running.pop(match[1], None)

    def remaining(self, now: float) -> str:
        """The time left in words; nothing in the first two seconds or before a job has ended."""
        if not self.spent or now - self.started < 2:
            return ""
        means = {**self.before, **{rule: fmean(seconds) for rule, seconds in self.spent.items()}}
        begun = sum(now - start for start in self.running.values())
        at_once = (sum(map(sum, self.spent.values())) + begun) / (now - self.started)
        work = sum(count * means.get(rule, median(means.values())) for rule, count in self.left.items()) - begun
        return f", about {duration(max(0.0, work) / max(at_once, 0.01))} left"


def seconds_before(results: Path) -> dict[str, float]:
    """Mean seconds of a job of each stage, of those that were made in a folder of results before."""
    found: dict[str, list[float]] = {}
    for work in results.glob("*/.work"):
        for past in made.read_all(work):
            found.setdefault(past.stage, []).append(past.seconds)
    return {stage: fmean(seconds) for stage, seconds in found.items()}


def follow(lines: Iterable[str], tty: bool) -> None:
    """Print progress from the workflow's output as it comes."""
    pace, job, telling = Pace(time.monotonic(), seconds_before(Path("results"))), "", False
    width = 0
    for line in lines:
        text = line.rstrip("\n")
        pace.hear(text, time.monotonic())
        if match := JOB.match(text):
            job = match[2]
            telling = False
        elif match := STEPS.match(text):
            shown = f"{match[1]} of {match[2]} jobs{pace.remaining(time.monotonic())}  {job}"[:110]
            print(f"\r{shown.ljust(width)}" if tty else shown, end="" if tty else "\n", flush=True)
            width = max(width, len(shown)) if tty else 0
        elif telling or TELLING.search(text):
            # an error's lines belong together: print until the next job begins
            telling = telling or bool(re.search(r"error|fail", text, re.IGNORECASE))
            if not QUIET.match(text):
                print(("\n" if width else "") + text, flush=True)
                width = 0
    if width:
        print()


def main() -> int:
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
    assert process.stdout is not None
    try:
        follow(process.stdout, sys.stdout.isatty())
    except KeyboardInterrupt:  # the workflow got it too and ends by itself
        follow(process.stdout, tty=False)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
