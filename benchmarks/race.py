"""Trainings side by side in one process, a step each in turn, with a clock for each.

`train_throughput.py` lets its contenders race. What else runs on the machine then slows all of them alike,
down to parts of a second, and their ratios hold where absolute times do not.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass


@dataclass(frozen=True)
class Timed:
    """One measured epoch."""

    rows: int
    wall: float
    cpu: float  # of all threads of the process
    loss: float


class Turns:
    """Lets several trainings in threads of one process advance in turn, one step each, never two at once."""

    def __init__(self, names: list[str]) -> None:
        self.waiting = list(names)
        self.changed = threading.Condition()

    def wait(self, name: str) -> None:
        """Return when it is this one's turn."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting[0] == name)

    def pass_on(self, name: str) -> None:
        """Let the next one go, and come again behind the others."""
        with self.changed:
            self.waiting.remove(name)
            self.waiting.append(name)
            self.changed.notify_all()

    def leave(self, name: str) -> None:
        """Let the next one go, for good."""
        with self.changed:
            self.waiting.remove(name)
            self.changed.notify_all()


class Clock:
    """Wall and processor time of one contender's turns, from the start of its epoch to its last step."""

    def __init__(self, name: str, turns: Turns) -> None:
        self.name, self.turns = name, turns
        self.wall = self.cpu = 0.0

    def start(self) -> None:
        """The epoch begins: what came before does not count."""
        self._hand_over()

    def tick(self) -> None:
        """A step has ended."""
        self.wall += time.perf_counter() - self.begun[0]
        self.cpu += time.process_time() - self.begun[1]
        self._hand_over()

    def _hand_over(self) -> None:
        self.turns.pass_on(self.name)
        self.turns.wait(self.name)
        self.begun = (time.perf_counter(), time.process_time())


@dataclass(frozen=True)
class Contender:
    """A way to train on the first `steps` batches' worth of rows."""

    name: str
    family: str  # ours, bare or Trainer
    precision: str
    run: Callable[[Clock, int], tuple[int, float]]  # trains on so many steps' rows; rows and mean loss


def race(everyone: list[Contender], steps: dict[str, int], threads: int) -> dict[str, Timed]:
    """Train all contenders of one precision side by side, each on so many steps' rows."""
    import torch
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # it would keep the precision of the race before
    turns = Turns([each.name for each in everyone])
    found: dict[str, Timed] = {}
    failures: list[BaseException] = []

    def take_part(each: Contender) -> None:
        clock = Clock(each.name, turns)
        turns.wait(each.name)
        try:
            torch.set_num_threads(threads)
            rows, loss = each.run(clock, steps[each.name])
            found[each.name] = Timed(rows, clock.wall, clock.cpu, loss)
        except BaseException as error:  # noqa: BLE001, raised again by the caller
            failures.append(error)
        finally:
            turns.leave(each.name)

    runners = [threading.Thread(target=take_part, args=[each]) for each in everyone]
    with redirect_stdout(io.StringIO()):
        for runner in runners:
            runner.start()
        for runner in runners:
            runner.join()
    if failures:
        raise failures[0]
    return found
