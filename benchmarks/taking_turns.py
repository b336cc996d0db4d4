"""Processes that take steps in turn, so that whatever else a machine does hits all alike.

`method_cost` imports it. A process says "ready" before each step, waits for a word, and answers with the seconds that
the step took; after the last one it answers with its peak memory in MiB.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


def another_turn(pipe: Connection) -> bool:
    """In the process: wait for the word to take a step; false where there is none to come."""
    parent = os.getppid()
    pipe.send("ready")
    while not pipe.poll(5):  # siblings hold copies of the pipe, so a killed parent does not end it
        if os.getppid() != parent:
            return False
    return bool(pipe.recv())


class Racer:
    """A process that takes steps in turn with others, seen from the parent."""

    def __init__(self, name: str, options: argparse.Namespace, steps: Callable[..., None]) -> None:
        self.name = name
        self.pipe, theirs = get_context("fork").Pipe()
        self.process = get_context("fork").Process(target=steps, args=(name, theirs, options))
        self.process.start()
        theirs.close()
        self.times: list[tuple[float, ...]] = []
        self.failure: str | None = None
        self.peak = 0.0
        self._await_ready()

    def _heard(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            return "its process ended without a word"

    def _await_ready(self) -> None:
        if (word := self._heard()) != "ready":
            self.failure = str(word)

    def step(self) -> None:
        """Let it take one step."""
        self.pipe.send(True)
        word = self._heard()
        if isinstance(word, tuple):
            self.times.append(word)
            self._await_ready()
        else:
            self.failure = str(word)

    def stop(self) -> None:
        """End its training and learn its peak memory."""
        if self.failure is None:
            self.pipe.send(False)
            self.peak = float(self._heard())
        self.process.join()


def race(racers: list[Racer], options: argparse.Namespace) -> None:
    """Let all of them take their steps in turn."""
    for number in range(options.warmup + options.rounds):
        for racer in racers if number % 2 == 0 else racers[::-1]:
            if racer.failure is None:
                racer.step()
    for racer in racers:
        racer.stop()
        racer.times = racer.times[options.warmup :]
