"""Run the workflow with one line of progress and an estimate instead of its full log.

`make demo` calls it as `python -m ftbench.progress snakemake ...`. Everything that the workflow prints stays in
its own log; what a reader must act on (errors, failed jobs) is printed in full.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable

STEPS = re.compile(r"^(\d+) of (\d+) steps \(\d+%\) done")
JOB = re.compile(r"^Job \d+: (.+)$")
QUIET = re.compile(
    r"^(\[\w{3} \w{3} |Reason: |Job \d+: |Finished jobid|Select jobs|Execute \d+ jobs|\s*$"
    r"|\s+(input|output|reason|resources): )"
)
TELLING = re.compile(r"error|exception|fail|missing|lock|nothing to be done|tables from what exists", re.IGNORECASE)


def remaining(done: int, total: int, seconds: float) -> str:
    """The time left in words, from the pace so far; nothing while there is no pace."""
    if done == 0 or seconds < 2:
        return ""
    left = seconds * (total - done) / done
    return f", about {left:.0f} s left" if left < 90 else f", about {left / 60:.0f} min left"


def follow(lines: Iterable[str], tty: bool) -> None:
    """Print progress from the workflow's output as it comes."""
    started, job, telling = time.monotonic(), "", False
    width = 0
    for line in lines:
        text = line.rstrip("\n")
        if match := JOB.match(text):
            job = match[1]
            telling = False
        elif match := STEPS.match(text):
            done, total = int(match[1]), int(match[2])
            shown = f"{done} of {total} jobs{remaining(done, total, time.monotonic() - started)}  {job}"[:110]
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
