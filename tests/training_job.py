"""One fine-tuning job of the small study by its real command line, started, watched and killed from a test."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project import Project

from ftbench.warm import VARIABLE

PATIENCE = 120.0  # seconds; a slow machine must not fail a test

START_WARM = f"""
import os, sys
from ftbench import warm
warm.start()
print(os.environ.get({VARIABLE!r}, "off"), flush=True)
sys.stdin.read()
"""


def wait_for(what: str, condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first value of `condition` that counts as true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.002)
    return value


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def warm_driver(project: Project) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that has started the warm process as the workflow does, and where jobs find it."""
    driver = subprocess.Popen(
        [sys.executable, "-c", START_WARM],
        cwd=project.folder,
        env=project.environment(**{VARIABLE: ""}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield driver, driver.stdout.readline().strip()
    finally:
        driver.communicate()


@dataclass
class TrainingJob:
    """`python -m ftbench.stage finetune` for vanilla, seed 0, with changes; it writes only below `folder`."""

    project: Project
    folder: Path
    method: str = "vanilla"
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    source: str = "as-it-is"
    warm: str = "off"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def output(self, name: str) -> Path:
        return self.folder / name

    def words(self) -> list[str]:
        log = self.project.results / "logs/finetune/runs/reviews/smoke_encoder/vanilla/default/s0.log"
        words = shlex.split(log.read_text().splitlines()[0].removeprefix("+ "))
        words[0] = sys.executable
        changed = {"--cell": self.method, "--work": str(self.work), "--source": self.source}
        spec = json.loads(words[words.index("--spec") + 1])
        spec["methods"] = [{"name": self.method, "config": self.settings}]
        spec["training"].update(self.training)
        changed["--spec"] = json.dumps(spec)
        for option, value in changed.items():
            words[words.index(option) + 1] = value
        outputs = [f"{name}={self.output(name)}" for name in ("model", "log", "record")]
        return [*words[: words.index("--outputs") + 1], *outputs]

    def start(self, seconds: str = "0") -> subprocess.Popen[str]:
        """Start it with a checkpoint every `seconds`; 0 is one after each step."""
        environment = self.project.environment(**{"FTBENCH_CHECKPOINT_SECONDS": seconds, VARIABLE: self.warm})
        return subprocess.Popen(
            self.words(),
            cwd=self.project.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def finish(self, seconds: str = "300") -> str:
        """Run it to its end; gives what it printed."""
        process = self.start(seconds)
        text, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, text
        return text

    def checkpoints(self) -> list[Path]:
        return sorted(self.work.glob("*/checkpoint-*"))

    def wait_for_step(self, step: int) -> None:
        def reached() -> bool:
            return any(int(path.name.rpartition("-")[2]) >= step for path in self.checkpoints())

        wait_for(f"a checkpoint of step {step}", reached)

    def process(self) -> int:
        """The process that trains: the command's own, or a fork of the warm process."""
        holder = re.match(r"process (\d+) on ", (self.work / "locks" / f"finetune--{self.method}").read_text())
        assert holder
        return int(holder[1])

    def kill(self, command: subprocess.Popen[str], number: int) -> tuple[int, str]:
        """Send a signal to the training; gives exit status and text of the command."""
        os.kill(self.process(), number)
        text, _ = command.communicate(timeout=PATIENCE)
        return command.returncode, text
